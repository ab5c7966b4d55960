//! Where a tool may send requests. A model chooses what is asked, so it must not choose which machines inside are asked.

use std::{
    error::Error,
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use reqwest::{
    Url,
    dns::{Addrs, Name, Resolve, Resolving},
    redirect,
};

/// Which addresses may be reached.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Egress {
    /// Also this machine and private networks.
    pub(crate) allow_private: bool,
}

/// An address that may not be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Denied {
    host: String,
    why: &'static str,
}

/// More redirects than any honest server needs.
const MOST_REDIRECTS: usize = 3;

/// The metadata services of AWS, Azure, Google and others hand out credentials to whoever asks from inside. Azure has a
/// second one at an address that looks public:
/// <https://learn.microsoft.com/azure/virtual-network/what-is-ip-address-168-63-129-16>.
const METADATA_V4: [Ipv4Addr; 5] = [
    Ipv4Addr::new(169, 254, 169, 254),
    Ipv4Addr::new(169, 254, 170, 2),
    Ipv4Addr::new(100, 100, 100, 200),
    Ipv4Addr::new(168, 63, 129, 16),
    Ipv4Addr::new(192, 0, 0, 192),
];
const METADATA_V6: [Ipv6Addr; 2] =
    [Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254), Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)];

impl Egress {
    /// Whether this URL may be asked, as far as it says itself: its scheme, and its host if that is an address. Names are
    /// judged when they are looked up.
    pub(crate) fn check(self, url: &Url) -> Result<(), Denied> {
        let host = url.host_str().unwrap_or_default();
        let denied = |why| Err(Denied { host: host.to_owned(), why });
        if !matches!(url.scheme(), "http" | "https") {
            return denied("only http and https are spoken");
        }
        if !url.username().is_empty() || url.password().is_some() {
            return denied("addresses with credentials are not used");
        }
        match host.trim_matches(['[', ']']).parse::<IpAddr>() {
            Ok(address) => self.judge(address).map_or(Ok(()), denied),
            Err(_) => Ok(()),
        }
    }

    /// Follows redirects to where requests may go.
    pub(crate) fn redirects(self) -> redirect::Policy {
        redirect::Policy::custom(move |attempt| {
            if attempt.previous().len() > MOST_REDIRECTS {
                return attempt.error("too many redirects");
            }
            match self.check(attempt.url()) {
                Ok(()) => attempt.follow(),
                Err(denied) => attempt.error(denied),
            }
        })
    }

    /// Why an address may not be reached, if so.
    fn judge(self, address: IpAddr) -> Option<&'static str> {
        let address = address.to_canonical();
        let is_metadata = match address {
            IpAddr::V4(address) => METADATA_V4.contains(&address),
            IpAddr::V6(address) => {
                METADATA_V6.contains(&address) || carried(address).is_some_and(|carried| METADATA_V4.contains(&carried))
            }
        };
        if is_metadata {
            return Some("it is a metadata service");
        }
        if !self.allow_private && !is_public(address) {
            return Some("it is no public address; `allow_private = true` allows those");
        }
        None
    }
}

/// Looks names up, and lets only those addresses pass that may be reached. What is connected to is what was judged, so a
/// name that changes its address in between gains nothing.
impl Resolve for Egress {
    fn resolve(&self, name: Name) -> Resolving {
        let egress = *self;
        Box::pin(async move {
            let host = name.as_str().to_owned();
            let found: Vec<SocketAddr> = tokio::net::lookup_host((host.as_str(), 0)).await?.collect();
            // One bad address is enough: an honest name has none.
            if let Some(why) = found.iter().find_map(|found| egress.judge(found.ip())) {
                return Err(Box::new(Denied { host, why }) as Box<dyn Error + Send + Sync>);
            }
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

/// The IPv4 address that a gateway would make of an IPv6 address: NAT64 (RFC 6052), 6to4 (RFC 3056), or the deprecated
/// form of RFC 4291.
fn carried(address: Ipv6Addr) -> Option<Ipv4Addr> {
    match address.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] | [0, 0, 0, 0, 0, 0, high, low] => {
            Some(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)))
        }
        _ => None,
    }
}

/// Addresses that anybody on the internet may have: <https://www.iana.org/assignments/iana-ipv4-special-registry>.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            let [first, second, third, _] = address.octets();
            let is_shared = first == 100 && second & 0xc0 == 64;
            let is_benchmark = first == 198 && second & 0xfe == 18;
            let is_protocol = first == 192 && second == 0 && third == 0;
            !(address.is_private()
                || address.is_loopback()
                || address.is_link_local()
                || address.is_documentation()
                || is_shared
                || is_benchmark
                || is_protocol
                || first == 0
                || first >= 224)
        }
        IpAddr::V6(address) => {
            let [first, second, ..] = address.segments();
            // 2000::/3 is all that is given out; of it, Teredo and 6to4 carry IPv4 addresses in disguise.
            first & 0xe000 == 0x2000
                && first != 0x2002
                && (first, second) != (0x2001, 0)
                && (first, second) != (0x2001, 0xdb8)
        }
    }
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "egress to {} is denied: {}", self.host, self.why)
    }
}

impl Error for Denied {}

#[cfg(test)]
mod tests {
    use super::*;

    fn may(url: &str, allow_private: bool) -> bool {
        Egress { allow_private }.check(&Url::parse(url).unwrap()).is_ok()
    }

    #[test]
    fn only_public_addresses_are_reached() {
        for url in [
            "http://127.0.0.1/",
            "http://127.1/",
            "http://2130706433/",
            "http://0x7f.1/",
            "http://10.0.0.1/",
            "http://192.168.1.1/",
            "http://172.16.0.1/",
            "http://100.64.0.1/",
            "http://0.0.0.0/",
            "http://169.254.1.1/",
            "http://[::1]/",
            "http://[::ffff:10.0.0.1]/",
            "http://[fd00::1]/",
            "http://[fe80::1]/",
            "http://[2002:7f00:1::]/",
        ] {
            assert!(!may(url, false), "{url}");
            assert!(may(url, true), "{url}");
        }
        assert!(may("https://93.184.216.34/", false) && may("https://[2606:2800:220:1::1]/", false));
    }

    #[test]
    fn metadata_services_are_never_reached() {
        for url in [
            "http://169.254.169.254/",
            "http://168.63.129.16/",
            "http://[::ffff:169.254.169.254]/",
            "http://[::169.254.169.254]/",
            "http://[64:ff9b::169.254.169.254]/",
            "http://[2002:a9fe:a9fe::1]/",
            "http://[fd00:ec2::254]/",
            "http://[fd20:ce::254]/",
        ] {
            assert!(!may(url, true), "{url}");
        }
    }

    #[test]
    fn other_schemes_and_credentials_are_refused() {
        for url in ["file:///etc/passwd", "ftp://example.com/", "http://user:password@example.com/"] {
            assert!(!may(url, true), "{url}");
        }
    }
}
