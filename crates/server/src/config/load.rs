//! Reading a configuration.

use std::{
    fs,
    path::{Path, PathBuf},
};

use toml::{Table, Value};

use super::{Config, ConfigError, Problem, references};

/// Which file a command reads.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct ConfigFile {
    /// The configuration
    #[arg(long = "config", value_name = "FILE", default_value = "brigade.toml", env = "BRIGADE_CONFIG")]
    pub(crate) path: PathBuf,
}

/// A configuration and where it came from.
#[derive(Debug, Clone)]
pub(crate) struct Loaded {
    pub(crate) config: Config,
    /// What its relative paths begin at.
    pub(crate) folder: PathBuf,
    /// The file and the environment together, as they were written.
    pub(crate) table: Table,
    /// Which of it the environment said.
    pub(crate) overridden: Vec<Overridden>,
}

/// A value that an environment variable set.
#[derive(Debug, Clone)]
pub(crate) struct Overridden {
    /// The variable.
    pub(crate) variable: String,
    /// The keys that lead to the value.
    path: Vec<String>,
    value: Value,
}

/// `BRIGADE__SERVER__LISTEN` sets `server.listen`.
const PREFIX: &str = "BRIGADE__";

impl ConfigFile {
    /// Reads it, with the environment above it.
    pub(crate) fn load(&self) -> anyhow::Result<Loaded> {
        Loaded::from_file(&self.path)
    }
}

impl Loaded {
    /// Reads a file, with the process's environment above it.
    pub(crate) fn from_file(path: &Path) -> anyhow::Result<Self> {
        let text = fs::read_to_string(path).map_err(|error| {
            anyhow::anyhow!("cannot read {}: {error}; `brigade init` writes a configuration", path.display())
        })?;
        let folder = path.parent().map(Path::to_owned).unwrap_or_default();
        Ok(Self::parse(path, &text, std::env::vars())?.within(folder))
    }

    /// Reads a text, with these variables above it.
    pub(crate) fn parse(
        path: &Path,
        text: &str,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let failed = |problems| ConfigError::new(path, text, problems);
        let written = |error: &toml::de::Error| failed(vec![Problem::of_toml(error)]);
        // The text by itself first, because only there a problem has a place.
        let mut config: Config = toml::from_str(text).map_err(|error| written(&error))?;
        let mut table: Table = toml::from_str(text).map_err(|error| written(&error))?;
        let overridden: Vec<_> =
            environment.into_iter().filter_map(|(name, value)| Overridden::read(name, &value)).collect();
        for one in &overridden {
            set(&mut table, &one.path, one.value.clone());
            let told = |message: String| failed(vec![Problem::anywhere(format!("{}: {message}", one.variable))]);
            let merged = toml::to_string(&table).map_err(|error| told(error.to_string()))?;
            config = toml::from_str(&merged).map_err(|error| told(Problem::of_toml(&error).message))?;
        }
        let problems = references::check(&config);
        if problems.is_empty() {
            Ok(Self { config, folder: PathBuf::new(), table, overridden })
        } else if overridden.is_empty() {
            Err(failed(problems))
        } else {
            // The places are those of the merged text, which nobody has seen.
            Err(failed(problems.into_iter().map(|problem| Problem::anywhere(problem.message)).collect()))
        }
    }

    /// Relative paths begin at `folder`.
    fn within(self, folder: PathBuf) -> Self {
        Self { folder, ..self }
    }
}

impl Overridden {
    fn read(variable: String, value: &str) -> Option<Self> {
        let path: Vec<String> = variable.strip_prefix(PREFIX)?.split("__").map(str::to_lowercase).collect();
        // Numbers, booleans and tables are written as in the file; what is none of these is a text.
        let parsed =
            toml::from_str::<Table>(&format!("value = {value}")).ok().and_then(|mut table| table.remove("value"));
        let value = parsed.unwrap_or_else(|| Value::String(value.to_owned()));
        Some(Self { variable, path, value })
    }

    /// The keys that lead to the value, as they are written in the file.
    pub(crate) fn key(&self) -> String {
        self.path.join(".")
    }
}

fn set(table: &mut Table, path: &[String], value: Value) {
    let Some((first, rest)) = path.split_first() else { return };
    if rest.is_empty() {
        table.insert(first.clone(), value);
        return;
    }
    let below = table.entry(first.clone()).or_insert_with(|| Value::Table(Table::new()));
    if !below.is_table() {
        *below = Value::Table(Table::new());
    }
    if let Value::Table(below) = below {
        set(below, rest, value);
    }
}
