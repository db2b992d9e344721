//! Which addresses are globally reachable unicast.
//!
//! After the IANA IPv4 and IPv6 Special-Purpose Address Registries
//! (<https://www.iana.org/assignments/iana-ipv4-special-registry>,
//! <https://www.iana.org/assignments/iana-ipv6-special-registry>, RFC 6890), on the strict side:
//! where a registered block has globally reachable parts that no web server has (192.0.0.0/24,
//! 2001::/23), the whole block is refused, and so is every form of IPv6 that carries an IPv4 address.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// First address and prefix length of what is refused.
const REFUSED_V4: [([u8; 4], u32); 15] = [
    ([0, 0, 0, 0], 8),       // this network, RFC 791
    ([10, 0, 0, 0], 8),      // private use, RFC 1918
    ([100, 64, 0, 0], 10),   // shared address space, RFC 6598
    ([127, 0, 0, 0], 8),     // loopback, RFC 1122
    ([169, 254, 0, 0], 16),  // link local and instance metadata, RFC 3927
    ([172, 16, 0, 0], 12),   // private use, RFC 1918
    ([192, 0, 0, 0], 24),    // protocol assignments, RFC 6890
    ([192, 0, 2, 0], 24),    // documentation, RFC 5737
    ([192, 88, 99, 0], 24),  // 6to4 relays, RFC 7526
    ([192, 168, 0, 0], 16),  // private use, RFC 1918
    ([198, 18, 0, 0], 15),   // benchmarking, RFC 2544
    ([198, 51, 100, 0], 24), // documentation, RFC 5737
    ([203, 0, 113, 0], 24),  // documentation, RFC 5737
    ([224, 0, 0, 0], 4),     // multicast, RFC 5771
    ([240, 0, 0, 0], 4),     // reserved and limited broadcast, RFC 1112, RFC 919
];

/// All that is global unicast so far (RFC 4291, section 2.4). Outside of it lie the unspecified and
/// the loopback address, mapped and compatible IPv4 (::/96, ::ffff:0:0/96), NAT64 (64:ff9b::/96,
/// 64:ff9b:1::/48), discard (100::/64), segment routing (5f00::/16), unique local (fc00::/7), link
/// and site local (fe80::/10, fec0::/10) and multicast (ff00::/8).
const GLOBAL_V6: ([u16; 8], u32) = ([0x2000, 0, 0, 0, 0, 0, 0, 0], 3);

/// What is refused inside of [`GLOBAL_V6`].
const REFUSED_V6: [([u16; 8], u32); 4] = [
    ([0x2001, 0, 0, 0, 0, 0, 0, 0], 23), // protocol assignments with Teredo and ORCHID, RFC 2928
    ([0x2001, 0x0db8, 0, 0, 0, 0, 0, 0], 32), // documentation, RFC 3849
    ([0x2002, 0, 0, 0, 0, 0, 0, 0], 16), // 6to4, RFC 3056
    ([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20), // documentation, RFC 9637
];

/// Whether an address is globally reachable unicast.
pub(super) fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => !REFUSED_V4.iter().any(|block| is_in_v4(address, *block)),
        IpAddr::V6(address) => {
            is_in_v6(address, GLOBAL_V6) && !REFUSED_V6.iter().any(|block| is_in_v6(address, *block))
        }
    }
}

fn is_in_v4(address: Ipv4Addr, (first, length): ([u8; 4], u32)) -> bool {
    (address.to_bits() ^ Ipv4Addr::from(first).to_bits()).leading_zeros() >= length
}

fn is_in_v6(address: Ipv6Addr, (first, length): ([u16; 8], u32)) -> bool {
    (address.to_bits() ^ Ipv6Addr::from(first).to_bits()).leading_zeros() >= length
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(address: &str) -> bool {
        is_public(address.parse().expect("an address"))
    }

    /// Each block by its edges: the first and last address inside, and the neighbours outside.
    #[test]
    fn blocks_end_where_the_registries_say() {
        for inside in [
            "0.0.0.0",
            "0.255.255.255",
            "10.0.0.0",
            "10.255.255.255",
            "100.64.0.0",
            "100.127.255.255",
            "127.0.0.0",
            "127.255.255.255",
            "169.254.0.0",
            "169.254.169.254",
            "169.254.255.255",
            "172.16.0.0",
            "172.31.255.255",
            "192.0.0.0",
            "192.0.0.255",
            "192.0.2.0",
            "192.0.2.255",
            "192.88.99.0",
            "192.88.99.255",
            "192.168.0.0",
            "192.168.255.255",
            "198.18.0.0",
            "198.19.255.255",
            "198.51.100.0",
            "198.51.100.255",
            "203.0.113.0",
            "203.0.113.255",
            "224.0.0.0",
            "239.255.255.255",
            "240.0.0.0",
            "255.255.255.255",
            "::",
            "::1",
            "::7f00:1",
            "::ffff:127.0.0.1",
            "::ffff:8.8.8.8",
            "64:ff9b::7f00:1",
            "64:ff9b::808:808",
            "64:ff9b:1::1",
            "100::1",
            "1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
            "2001::",
            "2001:0:7f00:1::",
            "2001:1::1",
            "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff",
            "2001:db8::",
            "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff",
            "2002::",
            "2002:7f00:1::",
            "2002:808:808::1",
            "2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
            "3fff::",
            "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff",
            "4000::",
            "5f00::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(!judged(inside), "{inside}");
        }
        for outside in [
            "1.0.0.0",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.0",
            "169.253.255.255",
            "169.255.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "191.255.255.255",
            "192.0.1.0",
            "192.0.1.255",
            "192.0.3.0",
            "192.88.98.255",
            "192.88.100.0",
            "192.167.255.255",
            "192.169.0.0",
            "198.17.255.255",
            "198.20.0.0",
            "198.51.99.255",
            "198.51.101.0",
            "203.0.112.255",
            "203.0.114.0",
            "223.255.255.255",
            "2000::",
            "2000:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
            "2001:200::",
            "2001:db7:ffff:ffff:ffff:ffff:ffff:ffff",
            "2001:db9::",
            "2001:ffff::",
            "2003::",
            "2606:4700:4700::1111",
            "3ffe:ffff::1",
            "3fff:1000::",
        ] {
            assert!(judged(outside), "{outside}");
        }
    }
}
