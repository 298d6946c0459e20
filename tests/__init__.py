"""Tests of socks5sniff."""
