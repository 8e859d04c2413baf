"""Which addresses are public."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from jobworkerp_standalone.net.addresses import NotPublic, checked_addresses, is_public

PUBLIC = ["8.8.8.8", "1.1.1.1", "2606:4700:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::"]
NOT_PUBLIC = [
    *("127.0.0.1", "127.9.9.9", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "0.0.0.0", "100.64.0.1"),
    *("168.63.129.16", "224.0.0.1", "255.255.255.255", "192.0.2.1", "198.18.0.1", "240.0.0.1"),
    *("::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1", "fd00:ec2::254", "fec0::1", "ff02::1", "2001:db8::1"),
    *("::ffff:127.0.0.1", "::ffff:169.254.169.254", "64:ff9b::7f00:1", "2002:7f00:1::", "::127.0.0.1"),
    "::ffff:0:127.0.0.1",
]


@pytest.mark.parametrize("text", PUBLIC)
def test_these_are_public(text: str) -> None:
    assert is_public(ip_address(text))


@pytest.mark.parametrize("text", NOT_PUBLIC)
def test_these_are_not(text: str) -> None:
    assert not is_public(ip_address(text))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "0x7f.1", "2130706433", "127.1"])
async def test_however_a_host_is_written_its_address_counts(host: str) -> None:
    with pytest.raises(NotPublic):
        await checked_addresses(host, 80)


async def test_a_public_host_is_given_its_addresses() -> None:
    assert await checked_addresses("8.8.8.8", 53) == ["8.8.8.8"]
