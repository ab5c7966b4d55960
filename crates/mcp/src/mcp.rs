//! A server whose tools agents may call.

use std::{
    borrow::Cow,
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use http::{HeaderName, HeaderValue};
use reqwest::Url;

use crate::{
    McpError, McpLimits, McpTool,
    definition::ToolDefinition,
    endpoint::{Endpoint, Http},
    patterns::NamePatterns,
    process::Program,
    server::Server,
    tool::is_server_name,
};

/// A server of the Model Context Protocol. Cheap to clone; all clones share one connection.
///
/// Nothing of the server is trusted by itself: it offers the tools that are listed, and only with the definitions that a
/// person has read. [`Mcp::list`] returns what it says now; [`Mcp::tools`] takes the definitions that were read, which a
/// [`LockFile`](crate::LockFile) keeps.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use std::path::Path;
///
/// use brigade_mcp::{LockFile, Mcp};
///
/// let files = Mcp::stdio("files", ["mcp-server-filesystem", "/srv/notes"])
///     .tools(["read_text_file", "list_*"])
///     .repeatable(["read_*", "list_*"])
///     .build()?;
/// let lock = LockFile::read(Path::new("brigade.lock"))?;
/// let pinned = lock.tools("files").ok_or("run `brigade mcp pin files`")?;
/// for tool in files.tools(pinned)? {
///     // agent = agent.tool(tool);
///     println!("{}", tool.name_at_server());
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Mcp(Arc<Server>);

/// Builds an [`Mcp`].
#[derive(Debug)]
#[must_use]
pub struct McpBuilder {
    name: String,
    transport: Transport,
    limits: McpLimits,
    names: NamePatterns,
    repeatable: NamePatterns,
    restart: bool,
}

#[derive(Debug)]
enum Transport {
    Process(Program),
    Http { url: String, client: reqwest::Client, headers: Vec<(String, Secret)> },
}

/// The value of a header. It is not part of any debug output.
struct Secret(String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[secret]")
    }
}

impl Mcp {
    /// A server that is started as a process and speaks over its standard input and output. `command` is the program followed
    /// by its arguments. It has a process group of its own, which is killed as a whole: what the
    /// server starts ends with it, unless it leaves the group.
    pub fn stdio<S: Into<String>>(name: impl Into<String>, command: impl IntoIterator<Item = S>) -> McpBuilder {
        let name = name.into();
        let program = Program {
            server: name.clone(),
            command: command.into_iter().map(Into::into).collect(),
            folder: ".".into(),
            environment: Vec::new(),
            redact: |text| Cow::Borrowed(text),
        };
        McpBuilder::new(name, Transport::Process(program))
    }

    /// A server that speaks streamable HTTP. `client` decides which addresses may be reached; it should follow no redirects,
    /// and refuse private addresses if the server is not yours.
    pub fn http(name: impl Into<String>, url: impl Into<String>, client: reqwest::Client) -> McpBuilder {
        McpBuilder::new(name.into(), Transport::Http { url: url.into(), client, headers: Vec::new() })
    }

    /// The name of the server.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The tools that the server offers now, as far as they are listed. Starts the server if it does not run.
    ///
    /// # Errors
    ///
    /// The server cannot be used.
    pub async fn list(&self) -> Result<Vec<ToolDefinition>, McpError> {
        self.0.list().await
    }

    /// The tools with these definitions, which a person has read. From now on the server must describe its tools in this way; it
    /// loses them all if it describes one in another way, or has another one that is listed.
    ///
    /// # Errors
    ///
    /// The name of a tool is not one that models can call.
    pub fn tools(&self, pinned: &[ToolDefinition]) -> Result<Vec<McpTool>, McpError> {
        let pinned: Arc<[_]> = pinned.iter().filter(|tool| self.0.names.matches(&tool.name)).cloned().collect();
        *self.0.pinned.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&pinned));
        pinned.iter().map(|tool| McpTool::new(&self.0, tool)).collect()
    }

    /// Finds mistakes that would show when the server starts: a program or a folder that is not there.
    ///
    /// # Errors
    ///
    /// The mistake.
    pub fn check(&self) -> Result<(), McpError> {
        match &self.0.endpoint {
            Endpoint::Process(program) => program.check(),
            Endpoint::Http(_) => Ok(()),
            #[cfg(test)]
            Endpoint::Memory(_) => Ok(()),
        }
    }

    /// Closes the connection; calls in flight fail. A process has a short time to end by itself; a later call starts it again.
    /// Dropping all clones and tools kills it at once.
    pub async fn close(&self) {
        self.0.close().await;
    }

    #[cfg(test)]
    pub(crate) fn of(server: Server) -> Self {
        Self(Arc::new(server))
    }

    #[cfg(test)]
    pub(crate) fn into_server(self) -> Arc<Server> {
        self.0
    }
}

impl McpBuilder {
    fn new(name: String, transport: Transport) -> Self {
        let (names, repeatable) = (NamePatterns::default(), NamePatterns::default());
        Self { name, transport, limits: McpLimits::default(), names, repeatable, restart: true }
    }

    /// The tools that are offered, by their names at the server. A `*` stands for any text. None by default.
    pub fn tools<S: Into<String>>(self, names: impl IntoIterator<Item = S>) -> Self {
        Self { names: NamePatterns::new(names), ..self }
    }

    /// The tools that may be called again with the same arguments, for example after a crash. None by default. What the server
    /// says about its tools can only shorten this list.
    pub fn repeatable<S: Into<String>>(self, names: impl IntoIterator<Item = S>) -> Self {
        Self { repeatable: NamePatterns::new(names), ..self }
    }

    /// The limits of the server.
    pub fn limits(self, limits: McpLimits) -> Self {
        Self { limits, ..self }
    }

    /// Whether a server that has ended is started again. True by default.
    pub fn restart(self, restart: bool) -> Self {
        Self { restart, ..self }
    }

    /// The working directory of a process. The directory of this process by default.
    pub fn folder(mut self, path: impl Into<PathBuf>) -> Self {
        if let Transport::Process(program) = &mut self.transport {
            program.folder = path.into();
            if program.folder.as_os_str().is_empty() {
                program.folder = ".".into();
            }
        }
        self
    }

    /// Adds a variable to the environment of a process, which is empty otherwise.
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        if let Transport::Process(program) = &mut self.transport {
            program.environment.push((name.into(), value.into()));
        }
        self
    }

    /// Applies `redact` to the standard error of a process before it is logged. By default nothing is changed.
    pub fn redact(mut self, redact: fn(&str) -> Cow<'_, str>) -> Self {
        if let Transport::Process(program) = &mut self.transport {
            program.redact = redact;
        }
        self
    }

    /// Adds a header to the requests for a server that speaks HTTP. Its value is not part of any debug output.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        if let Transport::Http { headers, .. } = &mut self.transport {
            headers.push((name.into(), Secret(value.into())));
        }
        self
    }

    /// Builds the server, which starts at the first call.
    ///
    /// # Errors
    ///
    /// The name, the command, the address or a header is not valid.
    pub fn build(self) -> Result<Mcp, McpError> {
        let Self { name, transport, limits, names, repeatable, restart } = self;
        if !is_server_name(&name) {
            return Err(McpError::Name(name));
        }
        let endpoint = match transport {
            Transport::Process(program) if program.command.first().is_none_or(|program| program.trim().is_empty()) => {
                return Err(McpError::NoProgram(name));
            }
            Transport::Process(program) => Endpoint::Process(program),
            Transport::Http { url, client, headers } => {
                let address = Url::parse(&url).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
                if address.is_none() {
                    return Err(McpError::Address { server: name, url });
                }
                let headers = headers.into_iter().map(|(header, value)| parse_header(&name, header, value));
                Endpoint::Http(Http { url, client, headers: headers.collect::<Result<HashMap<_, _>, _>>()? })
            }
        };
        let (pinned, state) = (Mutex::default(), tokio::sync::Mutex::default());
        Ok(Mcp(Arc::new(Server { name, endpoint, limits, names, repeatable, restart, pinned, state })))
    }
}

fn parse_header(server: &str, header: String, value: Secret) -> Result<(HeaderName, HeaderValue), McpError> {
    match (header.parse(), HeaderValue::try_from(value.0)) {
        (Ok(name), Ok(mut value)) => {
            value.set_sensitive(true);
            Ok((name, value))
        }
        _ => Err(McpError::Header { server: server.to_owned(), header }),
    }
}
