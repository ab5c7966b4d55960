//! The address of a database, which may have a password in it.

use std::{fmt, net::IpAddr, str::FromStr, time::Duration};

use tokio_postgres::{
    Config,
    config::{Host, SslMode},
};

use crate::StoreError;

/// A parsed address. Its text never has a user, a password or options in it.
#[derive(Clone)]
pub(crate) struct Address {
    config: Config,
    shown: String,
}

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Finds out about a server that vanished before a firewall forgets the connection.
const KEEPALIVE: Duration = Duration::from_mins(1);

impl Address {
    /// Parses `postgres://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=require`.
    pub(crate) fn parse(url: &str) -> Result<Self, StoreError> {
        if !is_postgres(url) {
            return Err(StoreError::Address);
        }
        let (url, mode) = without_ssl_mode(url);
        // The cause may quote a part of the password.
        let mut config = Config::from_str(&url).map_err(|_| StoreError::Address)?;
        config.ssl_mode(ssl_mode(mode.as_deref(), config.get_hosts())?);
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT_TIMEOUT);
        }
        config.keepalives_idle(KEEPALIVE);
        if config.get_application_name().is_none() {
            config.application_name("brigade");
        }
        let shown = shown(&config);
        Ok(Self { config, shown })
    }

    pub(crate) fn config(&self) -> &Config {
        &self.config
    }
}

/// Whether a store is in PostgreSQL, by its address.
pub(crate) fn is_postgres(address: &str) -> bool {
    address.starts_with("postgres://") || address.starts_with("postgresql://")
}

/// Takes the option `sslmode` out, because it has values that the client does not know.
fn without_ssl_mode(url: &str) -> (String, Option<String>) {
    let Some((start, query)) = url.split_once('?') else { return (url.to_owned(), None) };
    let (modes, others): (Vec<_>, Vec<_>) = query.split('&').partition(|pair| pair.starts_with("sslmode="));
    let mode = modes.last().and_then(|pair| pair.split_once('=')).map(|(_, mode)| mode.to_owned());
    if others.is_empty() { (start.to_owned(), mode) } else { (format!("{start}?{}", others.join("&")), mode) }
}

/// An encrypted connection always proves that it leads to the right server, so `require` is as strict as `verify-full`. It
/// is the default for other machines: a password and conversations are sent over the connection.
fn ssl_mode(mode: Option<&str>, hosts: &[Host]) -> Result<SslMode, StoreError> {
    match mode {
        Some("disable") => Ok(SslMode::Disable),
        Some("allow" | "prefer") => Ok(SslMode::Prefer),
        Some("require" | "verify-ca" | "verify-full") => Ok(SslMode::Require),
        Some(_) => Err(StoreError::Address),
        None if hosts.iter().all(is_local) => Ok(SslMode::Prefer),
        None => Ok(SslMode::Require),
    }
}

fn is_local(host: &Host) -> bool {
    match host {
        Host::Tcp(name) => name == "localhost" || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback()),
        #[cfg(unix)]
        Host::Unix(_) => true,
    }
}

fn shown(config: &Config) -> String {
    let ports = config.get_ports();
    let hosts = config.get_hosts().iter().enumerate().map(|(index, host)| {
        let host = match host {
            Host::Tcp(name) if name.contains(':') => format!("[{name}]"),
            Host::Tcp(name) => name.clone(),
            #[cfg(unix)]
            Host::Unix(path) => path.display().to_string(),
        };
        match ports.get(index).or_else(|| ports.first()) {
            Some(port) if *port != 5432 => format!("{host}:{port}"),
            _ => host,
        }
    });
    let hosts: Vec<_> = hosts.collect();
    let database = config.get_dbname().or_else(|| config.get_user()).unwrap_or_default();
    format!("postgres://{}/{database}", hosts.join(","))
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_of_an_address_has_no_secret() {
        let address = Address::parse("postgres://ada:s3cret@db.example:6432/brigade?sslpassword=x").unwrap_err();
        assert!(!format!("{address} {address:?}").contains("s3cret"), "not even in an error");
        let address =
            Address::parse("postgresql://ada:s3cret@db.example:6432/brigade?application_name=s3cret").unwrap();
        assert_eq!(
            format!("{address} {address:?}"),
            "postgres://db.example:6432/brigade postgres://db.example:6432/brigade"
        );
    }

    #[test]
    fn other_machines_need_encryption_unless_the_address_says_otherwise() {
        let mode = |url: &str| Address::parse(url).map(|address| address.config().get_ssl_mode());
        assert_eq!(mode("postgres://db.example/brigade").unwrap(), SslMode::Require);
        assert_eq!(mode("postgres://localhost,db.example/brigade").unwrap(), SslMode::Require);
        assert_eq!(mode("postgres://[::1]/brigade").unwrap(), SslMode::Prefer);
        assert_eq!(mode("postgres://ada@%2Frun%2Fpostgresql/brigade").unwrap(), SslMode::Prefer);
        assert_eq!(mode("postgres://db.example/brigade?sslmode=disable").unwrap(), SslMode::Disable);
        assert!(mode("postgres://localhost/brigade?a=b&sslmode=verify-full").is_err(), "`a` is not an option");
        assert_eq!(mode("postgres://localhost/brigade?sslmode=verify-full").unwrap(), SslMode::Require);
        assert!(mode("postgres://localhost/brigade?sslmode=maybe").is_err());
        assert!(mode("mysql://localhost/brigade").is_err());
    }
}
