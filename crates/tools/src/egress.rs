//! Decides which addresses a tool may send requests to.

use std::{
    error::Error,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use reqwest::{
    ClientBuilder, Url,
    dns::{Addrs, Name, Resolve, Resolving},
    redirect,
};

/// Decides which addresses a tool may send requests to.
///
/// A model chooses parts of a request, so the request must not reach machines inside the network. Private addresses are
/// refused unless allowed; the metadata services of cloud providers are always refused. The guard checks URLs, resolved
/// addresses and redirects.
///
/// ```
/// use brigade_tools::EgressGuard;
///
/// let guard = EgressGuard::default();
/// assert!(guard.check(&"https://93.184.216.34/".parse()?).is_ok());
/// assert!(guard.check(&"http://10.0.0.1/".parse()?).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct EgressGuard {
    allow_private: bool,
}

/// A request that an [`EgressGuard`] refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("requests to {host} are denied: {reason}")]
pub struct EgressDenied {
    host: String,
    reason: &'static str,
}

const MAX_REDIRECTS: usize = 3;

/// Metadata services of AWS, Azure, Google and others, which hand out credentials to any process inside their network.
/// Azure has a second one at an address that looks public:
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

impl EgressGuard {
    /// Sets whether requests to this machine and to private networks are allowed. The default is `false`.
    #[must_use]
    pub fn allow_private(self, allow: bool) -> Self {
        Self { allow_private: allow }
    }

    /// Checks the scheme of a URL, and its host if that is an IP address. Host names are checked when they are resolved.
    ///
    /// # Errors
    ///
    /// Fails if requests to the URL are not allowed.
    pub fn check(self, url: &Url) -> Result<(), EgressDenied> {
        let host = url.host_str().unwrap_or_default();
        let denied = |reason| Err(EgressDenied { host: host.to_owned(), reason });
        if !matches!(url.scheme(), "http" | "https") {
            return denied("only http and https are supported");
        }
        if !url.username().is_empty() || url.password().is_some() {
            return denied("the URL contains credentials; send them in a header");
        }
        match host.trim_matches(['[', ']']).parse::<IpAddr>() {
            Ok(address) => self.refusal(address).map_or(Ok(()), denied),
            Err(_) => Ok(()),
        }
    }

    /// Applies the guard to a client: to its name resolution and its redirects.
    pub(crate) fn apply(self, client: ClientBuilder) -> ClientBuilder {
        let redirects = redirect::Policy::custom(move |attempt| {
            if attempt.previous().len() > MAX_REDIRECTS {
                return attempt.error(format!("more than {MAX_REDIRECTS} redirects; use the URL of the last redirect"));
            }
            match self.check(attempt.url()) {
                Ok(()) => attempt.follow(),
                Err(denied) => attempt.error(denied),
            }
        });
        // A proxy would resolve names itself and bypass the guard.
        client.dns_resolver(std::sync::Arc::new(self)).redirect(redirects).no_proxy()
    }

    /// Why an address is refused, or `None` if it is allowed.
    fn refusal(self, address: IpAddr) -> Option<&'static str> {
        let address = address.to_canonical();
        let is_metadata = match address {
            IpAddr::V4(address) => METADATA_V4.contains(&address),
            IpAddr::V6(address) => {
                METADATA_V6.contains(&address)
                    || embedded_v4(address).is_some_and(|embedded| METADATA_V4.contains(&embedded))
            }
        };
        if is_metadata {
            return Some("the address is a cloud metadata service");
        }
        if !self.allow_private && !is_public(address) {
            return Some("the address is not public; set `allow_private = true` to allow private addresses");
        }
        None
    }
}

/// The client connects to the addresses that were checked here, so a name cannot change its address after the check.
impl Resolve for EgressGuard {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = *self;
        Box::pin(async move {
            let host = name.as_str().to_owned();
            let resolved: Vec<SocketAddr> = tokio::net::lookup_host((host.as_str(), 0)).await?.collect();
            // One refused address is enough: a public name does not resolve to private addresses.
            if let Some(reason) = resolved.iter().find_map(|address| guard.refusal(address.ip())) {
                return Err(Box::new(EgressDenied { host, reason }) as Box<dyn Error + Send + Sync>);
            }
            Ok(Box::new(resolved.into_iter()) as Addrs)
        })
    }
}

/// The IPv4 address inside an IPv6 address: NAT64 (RFC 6052), 6to4 (RFC 3056), or the deprecated form of RFC 4291.
fn embedded_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    match address.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] | [0, 0, 0, 0, 0, 0, high, low] => {
            Some(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)))
        }
        _ => None,
    }
}

/// True for addresses of the public internet: <https://www.iana.org/assignments/iana-ipv4-special-registry>.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            let [first, second, third, _] = address.octets();
            let is_shared = first == 100 && second & 0xc0 == 64;
            let is_benchmark = first == 198 && second & 0xfe == 18;
            let is_protocol = first == 192 && second == 0 && third == 0;
            let is_this_network = first == 0;
            let is_multicast_or_reserved = first >= 224;
            !(address.is_private()
                || address.is_loopback()
                || address.is_link_local()
                || address.is_documentation()
                || is_shared
                || is_benchmark
                || is_protocol
                || is_this_network
                || is_multicast_or_reserved)
        }
        IpAddr::V6(address) => {
            let [first, second, ..] = address.segments();
            // Only 2000::/3 is allocated. Within it, Teredo and 6to4 embed IPv4 addresses.
            first & 0xe000 == 0x2000
                && first != 0x2002
                && (first, second) != (0x2001, 0)
                && (first, second) != (0x2001, 0xdb8)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_allowed(url: &str, allow_private: bool) -> bool {
        EgressGuard { allow_private }.check(&Url::parse(url).unwrap()).is_ok()
    }

    #[test]
    fn private_addresses_are_refused_unless_allowed() {
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
            assert!(!is_allowed(url, false), "{url}");
            assert!(is_allowed(url, true), "{url}");
        }
        assert!(is_allowed("https://93.184.216.34/", false) && is_allowed("https://[2606:2800:220:1::1]/", false));
    }

    #[test]
    fn metadata_services_are_always_refused() {
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
            assert!(!is_allowed(url, true), "{url}");
        }
    }

    #[test]
    fn other_schemes_and_credentials_in_urls_are_refused() {
        for url in ["file:///etc/passwd", "ftp://example.com/", "http://user:password@example.com/"] {
            assert!(!is_allowed(url, true), "{url}");
        }
    }
}
