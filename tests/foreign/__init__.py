"""Traffic of SOCKS programs that nobody here wrote, captured on a loopback interface and read back."""

import pytest

pytest.register_assert_rewrite("tests.foreign.reading")
