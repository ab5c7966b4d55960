//! Decides which addresses a tool may send requests to.

use std::{
    error::Error,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use reqwest::{
    Client, Url,
    dns::{Addrs, Name, Resolve, Resolving},
    redirect,
};

use crate::BuildToolError;

/// How long a server may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Decides which addresses a tool may send requests to.
///
/// A model chooses parts of a request, so the request must not reach machines inside the network. Private addresses are
/// refused unless allowed; the metadata services of cloud providers are always refused. The guard checks URLs, also
/// those of redirects, and resolved addresses.
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

/// Metadata services of AWS, Azure, Google and other clouds, which hand out credentials to any process inside their
/// network. Azure has a second one at an address that looks public:
/// <https://learn.microsoft.com/azure/virtual-network/what-is-ip-address-168-63-129-16>.
const METADATA_V4: [Ipv4Addr; 8] = [
    Ipv4Addr::new(169, 254, 169, 254),
    Ipv4Addr::new(169, 254, 170, 2),
    Ipv4Addr::new(169, 254, 170, 23),
    Ipv4Addr::new(169, 254, 42, 42),
    Ipv4Addr::new(169, 254, 0, 23),
    Ipv4Addr::new(100, 100, 100, 200),
    Ipv4Addr::new(168, 63, 129, 16),
    Ipv4Addr::new(192, 0, 0, 192),
];
const METADATA_V6: [Ipv6Addr; 5] = [
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254),
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23),
    Ipv6Addr::new(0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42),
    Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254),
    Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0xa9fe, 0xa9fe),
];

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

    /// An HTTP client that reaches only allowed addresses, for requests to `url`. It uses no proxies and follows no redirects.
    ///
    /// # Errors
    ///
    /// Fails if the URL is not valid or not allowed, or the client cannot be set up. The client itself does not check URLs
    /// whose host is an IP address.
    pub fn client(self, url: &str) -> Result<Client, BuildToolError> {
        let address = Url::parse(url).map_err(|_| BuildToolError::Address(url.to_owned()))?;
        self.check(&address)?;
        self.client_for_any_url()
    }

    /// The same client, for URLs that the caller checks.
    pub(crate) fn client_for_any_url(self) -> Result<Client, BuildToolError> {
        // Fails if a crypto provider is already installed; then that one is used.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder().dns_resolver(std::sync::Arc::new(self)).redirect(redirect::Policy::none());
        // A proxy would resolve names itself and bypass the guard.
        let client = client.no_proxy().connect_timeout(CONNECT_TIMEOUT);
        client.build().map_err(BuildToolError::Client)
    }

    /// Why an address is refused, or `None` if it is allowed.
    fn refusal(self, address: IpAddr) -> Option<&'static str> {
        let address = address.to_canonical();
        let is_metadata = match address {
            IpAddr::V4(address) => METADATA_V4.contains(&address),
            IpAddr::V6(address) => {
                METADATA_V6.contains(&address)
                    || embedded_v4(address).iter().any(|embedded| METADATA_V4.contains(embedded))
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

/// The IPv4 addresses that an IPv6 address stands for, as far as its form says: IPv4-compatible (RFC 4291),
/// IPv4-translated (RFC 2765), NAT64 (RFC 6052, RFC 8215), 6to4 (RFC 3056), Teredo (RFC 4380), ISATAP (RFC 5214).
fn embedded_v4(address: Ipv6Addr) -> Vec<Ipv4Addr> {
    // The 32 bits that follow the first `skipped` ones.
    let after = |bits: u128, skipped: u32| Ipv4Addr::from_bits((bits << skipped >> 96) as u32);
    let bits = address.to_bits();
    match address.segments() {
        [0, 0, 0, 0, 0 | 0xffff, 0, ..]
        | [0, 0, 0, 0, 0, 0xffff, ..]
        | [0x64, 0xff9b, 0, 0, 0, 0, ..]
        | [.., 0 | 0x200, 0x5efe, _, _] => vec![after(bits, 96)],
        // The network chooses the length of the prefix. The octet at bit 64 is not part of the embedded address.
        [0x64, 0xff9b, 1, ..] => {
            let without_octet = bits >> 64 << 64 | bits << 72 >> 64;
            vec![after(without_octet, 48), after(without_octet, 56), after(without_octet, 64), after(bits, 96)]
        }
        [0x2002, ..] => vec![after(bits, 16)],
        [0x2001, 0, ..] => vec![after(!bits, 96)],
        _ => Vec::new(),
    }
}

/// The ranges without public servers, from <https://www.iana.org/assignments/iana-ipv4-special-registry>, and
/// multicast.
const SPECIAL_V4: [(Ipv4Addr, u32); 15] = [
    (Ipv4Addr::UNSPECIFIED, 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    (Ipv4Addr::new(224, 0, 0, 0), 4),
    (Ipv4Addr::new(240, 0, 0, 0), 4),
];

/// The same for IPv6: <https://www.iana.org/assignments/iana-ipv6-special-registry>. Only the ranges within `2000::/3`,
/// because nothing else is allocated to servers.
const SPECIAL_V6: [(Ipv6Addr, u32); 4] = [
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
];

/// True for addresses of the public internet.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            let is_in = |(range, bits): &(Ipv4Addr, u32)| (address.to_bits() ^ range.to_bits()) >> (32 - bits) == 0;
            !SPECIAL_V4.iter().any(is_in)
        }
        IpAddr::V6(address) => {
            let is_in = |(range, bits): &(Ipv6Addr, u32)| (address.to_bits() ^ range.to_bits()) >> (128 - bits) == 0;
            // Networks without IPv4 reach public IPv4 addresses through this prefix.
            let is_translated = matches!(address.segments(), [0x64, 0xff9b, 0, 0, 0, 0, _, _]);
            let is_allocated = address.to_bits() >> 125 == 1 && !SPECIAL_V6.iter().any(is_in);
            (is_allocated || is_translated)
                && embedded_v4(address).into_iter().all(|embedded| is_public(embedded.into()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_allowed(url: &str, allow_private: bool) -> bool {
        EgressGuard { allow_private }.check(&Url::parse(url).unwrap()).is_ok()
    }

    fn url(address: IpAddr) -> String {
        match address {
            IpAddr::V4(address) => format!("http://{address}/"),
            IpAddr::V6(address) => format!("http://[{address}]/"),
        }
    }

    /// The notations in which an IPv6 address carries an IPv4 address.
    fn carriers(address: Ipv4Addr) -> Vec<String> {
        let [a, b, c, d] = address.octets();
        let (high, low) = (format!("{a:02x}{b:02x}"), format!("{c:02x}{d:02x}"));
        vec![
            format!("http://[::ffff:{address}]/"),
            format!("http://[::{address}]/"),
            format!("http://[::ffff:0:{address}]/"),
            format!("http://[64:ff9b::{address}]/"),
            format!("http://[64:ff9b:1::{address}]/"),
            format!("http://[64:ff9b:1:{high}:{c:02x}:{d:02x}00::]/"),
            format!("http://[64:ff9b:1:{a:02x}:{b:02x}:{c:02x}{d:02x}::]/"),
            format!("http://[64:ff9b:1:0:{a:02x}:{b:02x}{c:02x}:{d:02x}00:0]/"),
            format!("http://[2002:{high}:{low}::1]/"),
            format!(
                "http://[2001:0:5db8:d822:8000:1:{:x}:{:x}]/",
                !u16::from_be_bytes([a, b]),
                !u16::from_be_bytes([c, d])
            ),
            format!("http://[2606:2800::5efe:{address}]/"),
            format!("http://[2606:2800::200:5efe:{address}]/"),
        ]
    }

    #[test]
    fn every_address_of_special_purpose_is_refused_unless_private_ones_are_allowed() {
        let ends = |first: u128, bits: u32, width: u32| [first, first + ((1 << (width - bits)) - 1)];
        let v4 = [
            "0.0.0.0/8",
            "10.0.0.0/8",
            "100.64.0.0/10",
            "127.0.0.0/8",
            "169.254.0.0/16",
            "172.16.0.0/12",
            "192.0.0.0/24",
            "192.0.2.0/24",
            "192.88.99.0/24",
            "192.168.0.0/16",
            "198.18.0.0/15",
            "198.51.100.0/24",
            "203.0.113.0/24",
            "224.0.0.0/4",
            "240.0.0.0/4",
        ];
        for range in v4 {
            let (first, bits) = range.split_once('/').unwrap();
            for address in ends(first.parse::<Ipv4Addr>().unwrap().to_bits().into(), bits.parse().unwrap(), 32) {
                let address = Ipv4Addr::from_bits(address.try_into().unwrap());
                for url in carriers(address).into_iter().chain([url(address.into())]) {
                    assert!(!is_allowed(&url, false), "{range}: {url}");
                }
                assert!(is_allowed(&url(address.into()), true), "{range}: {address}");
            }
        }
        let v6 = [
            "::/128",
            "::1/128",
            "::ffff:0:0/96",
            "64:ff9b:1::/48",
            "100::/64",
            "100:0:0:1::/64",
            "2001::/32",
            "2001::/23",
            "2001:2::/48",
            "2001:10::/28",
            "2001:20::/28",
            "2001:30::/28",
            "2001:db8::/32",
            "2002::/16",
            "3fff::/20",
            "5f00::/16",
            "fc00::/7",
            "fe80::/10",
            "fec0::/10",
            "ff00::/8",
            "4000::/3",
            "1000::/4",
        ];
        for range in v6 {
            let (first, bits) = range.split_once('/').unwrap();
            for address in ends(first.parse::<Ipv6Addr>().unwrap().to_bits(), bits.parse().unwrap(), 128) {
                let url = url(Ipv6Addr::from_bits(address).into());
                assert!(!is_allowed(&url, false), "{range}: {url}");
                assert!(is_allowed(&url, true), "{range}: {url}");
            }
        }
    }

    #[test]
    fn a_private_address_in_another_notation_is_refused() {
        for url in
            ["http://127.1/", "http://2130706433/", "http://0x7f.1/", "http://0177.0.0.1/", "http://%31%32%37.1/"]
        {
            assert!(!is_allowed(url, false), "{url}");
            assert!(is_allowed(url, true), "{url}");
        }
    }

    #[test]
    fn public_addresses_are_allowed() {
        for url in [
            "https://93.184.216.34/",
            "https://100.63.255.255/",
            "https://100.128.0.0/",
            "https://172.32.0.0/",
            "https://192.31.196.1/",
            "https://198.20.0.0/",
            "https://223.255.255.255/",
            "https://[2606:2800:220:1::1]/",
            "https://[2001:200::1]/",
            "https://[2001:db9::1]/",
            "https://[2003::1]/",
            "https://[3fff:1000::1]/",
            "https://[2620:4f:8000::1]/",
            // How a network with IPv6 only, which translates addresses, reaches a public IPv4 address.
            "https://[64:ff9b::93.184.216.34]/",
        ] {
            assert!(is_allowed(url, false), "{url}");
        }
    }

    #[test]
    fn metadata_services_are_always_refused() {
        for address in METADATA_V4 {
            for url in carriers(address).into_iter().chain([url(address.into())]) {
                assert!(!is_allowed(&url, true), "{url}");
            }
        }
        for address in METADATA_V6 {
            assert!(!is_allowed(&url(address.into()), true), "{address}");
        }
    }

    #[test]
    fn other_schemes_and_credentials_in_urls_are_refused() {
        for url in ["file:///etc/passwd", "ftp://example.com/", "http://user:password@example.com/"] {
            assert!(!is_allowed(url, true), "{url}");
        }
    }
}
