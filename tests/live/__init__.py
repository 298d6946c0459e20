"""`socks5sniff live` on real interfaces, in network namespaces of the tests' own."""
