//! Reading a configuration.

use std::{
    borrow::Cow,
    fs,
    ops::Range,
    path::{Path, PathBuf},
};

use serde::Deserialize;
use toml::{
    Spanned, Table, Value,
    de::{DeArray, DeTable, DeValue, Deserializer, ValueDeserializer},
};

use super::{Config, ConfigError, Problem, references, sources::Sources, yaml};

/// Which file a command reads.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct ConfigFile {
    /// The configuration: TOML, or YAML where the name ends so
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
    /// The same, value by value.
    pub(crate) values: Vec<Written>,
}

/// A value that somebody wrote.
#[derive(Debug, Clone)]
pub(crate) struct Written {
    /// The keys that lead to it, as `server.listen`.
    pub(crate) key: String,
    pub(crate) value: Value,
    /// The file and the line, or the variable.
    pub(crate) origin: String,
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
        Ok(Self { folder, ..Self::parse(path, &text, std::env::vars())? })
    }

    /// Reads a text, with these variables above it.
    pub(crate) fn parse(
        path: &Path,
        text: &str,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let overriding: Vec<_> = environment.into_iter().filter(|(name, _)| name.starts_with(PREFIX)).collect();
        let variables = overriding.iter().map(|(name, _)| name.clone()).collect();
        let sources = Sources::new(path, text, variables);
        Self::read(&sources, text, &overriding).map_err(|problems| ConfigError::new(sources, problems))
    }

    fn read(sources: &Sources, text: &str, overriding: &[(String, String)]) -> Result<Self, Vec<Problem>> {
        let wrong = |error: &toml::de::Error| vec![Problem::of_toml(error)];
        let is_yaml = sources.path().extension().is_some_and(|ending| ending == "yaml" || ending == "yml");
        let mut tree = if is_yaml {
            yaml::parse(text).map_err(|problem| vec![problem])?
        } else {
            DeTable::parse(text).map_err(|error| wrong(&error))?
        };
        for (number, (name, value)) in overriding.iter().enumerate() {
            let place = sources.of_variable(number);
            let place = place..place + 1;
            let keys =
                name.strip_prefix(PREFIX).unwrap_or_default().split("__").map(str::to_lowercase).collect::<Vec<_>>();
            set(tree.get_mut(), &keys, moved(value_of(value), &place));
        }
        let config = Config::deserialize(Deserializer::from(tree.clone())).map_err(|error| wrong(&error))?;
        let table = Table::deserialize(Deserializer::from(tree.clone())).map_err(|error| wrong(&error))?;
        let problems = references::check(&config);
        if !problems.is_empty() {
            return Err(problems);
        }
        let mut values = Vec::new();
        list(tree.get_ref(), &mut Vec::new(), (sources, &mut values));
        Ok(Self { config, folder: PathBuf::new(), table, values })
    }
}

/// Numbers, truth values and tables are written as in the file; what is none of these is a text.
fn value_of(text: &str) -> DeValue<'_> {
    DeValue::parse(text).map_or_else(|_| DeValue::String(text.into()), Spanned::into_inner)
}

/// A value, all of which stands at this place.
fn moved<'t>(value: DeValue<'t>, place: &Range<usize>) -> Spanned<DeValue<'t>> {
    let moved = match value {
        DeValue::Table(table) => DeValue::Table(
            table
                .into_iter()
                .map(|(key, value)| (Spanned::new(place.clone(), key.into_inner()), moved(value.into_inner(), place)))
                .collect(),
        ),
        DeValue::Array(list) => {
            let mut all = DeArray::new();
            list.into_iter().for_each(|value| all.push(moved(value.into_inner(), place)));
            DeValue::Array(all)
        }
        value => value,
    };
    Spanned::new(place.clone(), moved)
}

/// Sets what these keys lead to.
fn set<'t>(table: &mut DeTable<'t>, keys: &[String], value: Spanned<DeValue<'t>>) {
    let Some((first, rest)) = keys.split_first() else { return };
    let key = Spanned::new(value.span(), Cow::Owned(first.clone()));
    if rest.is_empty() {
        table.insert(key, value);
        return;
    }
    let below = table.entry(key).or_insert_with(|| Spanned::new(value.span(), DeValue::Table(DeTable::new())));
    if !below.get_ref().is_table() {
        *below = Spanned::new(value.span(), DeValue::Table(DeTable::new()));
    }
    if let DeValue::Table(below) = below.get_mut() {
        set(below, rest, value);
    }
}

/// Lists all values below these keys.
fn list(table: &DeTable<'_>, keys: &mut Vec<String>, (sources, values): (&Sources, &mut Vec<Written>)) {
    for (key, value) in table {
        keys.push(key.get_ref().clone().into_owned());
        match value.get_ref() {
            DeValue::Table(below) if !below.is_empty() => list(below, keys, (sources, values)),
            _ => {
                if let Ok(read) = Value::deserialize(ValueDeserializer::from(value.clone())) {
                    let origin = sources.place(value.span().start).to_string();
                    values.push(Written { key: keys.join("."), value: read, origin });
                }
            }
        }
        keys.pop();
    }
}
