//! Reads a configuration file and the environment variables that override it.

use std::{
    borrow::Cow,
    fs, io,
    ops::Range,
    path::{Path, PathBuf},
};

use schemars::generate::SchemaSettings;
use serde::Deserialize;
use toml::{
    Spanned, Table, Value,
    de::{DeArray, DeTable, DeValue, Deserializer, ValueDeserializer},
};

use super::{
    Config, ConfigError, LoadConfigError, Problem, ProviderConfig, ServerConfig,
    environment::{ENV_PREFIX, environment, ignored},
    references, secrets, short_forms,
    sources::Sources,
};

/// A configuration that was read and checked.
///
/// ```
/// use brigade_config::LoadedConfig;
///
/// let text = r#"
/// [providers.openai]
/// [models.mini]
/// provider = "openai"
/// model = "gpt-5-mini"
/// [agents.clerk]
/// model = "mini"
/// "#;
/// let config = LoadedConfig::parse("brigade.toml".as_ref(), text, [])?;
/// # Ok::<(), brigade_config::ConfigError>(())
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct LoadedConfig {
    /// The sections, with all defaults.
    pub config: Config,
    /// The base of relative paths.
    pub folder: PathBuf,
    /// The file merged with the environment variables, without secrets.
    pub table: Table,
    /// The values of the file and of environment variables, without defaults.
    pub values: Vec<ConfigValue>,
    /// A warning for each environment variable that looks like one that overrides the file, but is not.
    pub ignored_variables: Vec<String>,
}

/// A value of the configuration and where it was set.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ConfigValue {
    /// The path of keys, such as `server.listen`.
    pub key: String,
    /// The value. It is hidden if it may be a secret.
    pub value: Value,
    /// The file and line, or the environment variable.
    pub origin: String,
}

impl LoadedConfig {
    /// Reads a TOML file. Environment variables such as `BRIGADE__SERVER__LISTEN` override its values.
    ///
    /// # Errors
    ///
    /// Fails if the file cannot be read or the configuration is not valid. The error lists all problems.
    pub fn from_file(path: &Path) -> Result<Self, LoadConfigError> {
        if path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml") {
            return Err(LoadConfigError::Yaml(path.to_owned()));
        }
        let bytes = fs::read(path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => LoadConfigError::Missing { path: path.to_owned(), source },
            _ => LoadConfigError::Unreadable { path: path.to_owned(), source },
        })?;
        let text = utf8(path, bytes)?;
        let folder = path.parent().map(Path::to_owned).unwrap_or_default();
        Ok(Self { folder, ..Self::parse(path, &text, environment())? })
    }

    /// Parses TOML text, overridden by these environment variables. `path` is only used in error messages.
    ///
    /// # Errors
    ///
    /// Fails if the configuration is not valid. The error lists all problems.
    pub fn parse(
        path: &Path,
        text: &str,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let (overrides, others): (Vec<_>, Vec<_>) =
            environment.into_iter().partition(|(name, _)| name.starts_with(ENV_PREFIX));
        let variables = overrides.iter().map(|(name, _)| name.clone()).collect();
        let sources = Sources::new(path, text, variables);
        let mut loaded =
            Self::read(&sources, text, &overrides).map_err(|problems| ConfigError::new(sources, problems))?;
        loaded.ignored_variables = others.into_iter().filter_map(|(name, _)| ignored(&name, text)).collect();
        Ok(loaded)
    }

    fn read(sources: &Sources, text: &str, overrides: &[(String, String)]) -> Result<Self, Vec<Problem>> {
        let invalid = |error: &toml::de::Error| vec![Problem::from_toml(error, text)];
        let mut tree = DeTable::parse(text).map_err(|error| invalid(&error))?;
        for (index, (name, value)) in overrides.iter().enumerate() {
            let start = sources.variable_offset(index);
            let keys: Vec<_> =
                name.strip_prefix(ENV_PREFIX).unwrap_or_default().split("__").map(str::to_lowercase).collect();
            set(tree.get_mut(), &keys, with_span(variable_value(value), &(start..start + 1)));
        }
        short_forms::expand(tree.get_mut());
        let config = Config::deserialize(Deserializer::from(tree.clone())).map_err(|error| invalid(&error))?;
        let table = Table::deserialize(Deserializer::from(tree.clone())).map_err(|error| invalid(&error))?;
        let table = secrets::hidden(&table);
        let problems = references::check(&config);
        if !problems.is_empty() {
            return Err(problems);
        }
        let mut values = Vec::new();
        collect_values(tree.get_ref(), &mut Vec::new(), sources, &mut values);
        Ok(Self { config, folder: PathBuf::new(), table, values, ignored_variables: Vec::new() })
    }

    /// The configuration with the built-in simulator in place of all providers.
    #[must_use]
    pub fn simulated(mut self) -> Self {
        for provider in self.config.providers.values_mut() {
            let kind = Some(Spanned::new(0..0, "simulator".to_owned()));
            *provider = ProviderConfig { kind, ..ProviderConfig::default() };
        }
        self
    }

    /// All values with their origins, including the server's defaults, sorted by key.
    pub fn origins(&self) -> Result<Vec<ConfigValue>, toml::ser::Error> {
        let mut values = self.values.clone();
        for (key, value) in Table::try_from(ServerConfig::default())? {
            let key = format!("server.{key}");
            if self.values.iter().all(|value| value.key != key) {
                values.push(ConfigValue { key, value, origin: "default".to_owned() });
            }
        }
        values.sort_unstable_by(|one, other| one.key.cmp(&other.key));
        Ok(values)
    }

    /// The JSON Schema of the configuration.
    pub fn schema() -> schemars::Schema {
        SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<Config>()
    }
}

/// The text of a file, whose byte order mark, if it has one, is not a part of it.
fn utf8(path: &Path, bytes: Vec<u8>) -> Result<String, LoadConfigError> {
    if let [0xFF, 0xFE, ..] | [0xFE, 0xFF, ..] = bytes[..] {
        return Err(LoadConfigError::Utf16(path.to_owned()));
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let valid = error.as_bytes().get(..error.utf8_error().valid_up_to()).unwrap_or_default();
        let line = String::from_utf8_lossy(valid).matches('\n').count() + 1;
        LoadConfigError::NotUtf8 { path: path.to_owned(), line }
    })?;
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}

/// A variable's text as a TOML value. Text that is not valid TOML is a string.
fn variable_value(text: &str) -> DeValue<'_> {
    DeValue::parse(text).map_or_else(|_| DeValue::String(text.into()), Spanned::into_inner)
}

/// Gives a value and everything inside it the same span.
fn with_span<'t>(value: DeValue<'t>, span: &Range<usize>) -> Spanned<DeValue<'t>> {
    let value = match value {
        DeValue::Table(table) => {
            let entries = table.into_iter();
            let entries = entries.map(|(key, value)| {
                (Spanned::new(span.clone(), key.into_inner()), with_span(value.into_inner(), span))
            });
            DeValue::Table(entries.collect())
        }
        DeValue::Array(items) => {
            let mut array = DeArray::new();
            items.into_iter().for_each(|item| array.push(with_span(item.into_inner(), span)));
            DeValue::Array(array)
        }
        value => value,
    };
    Spanned::new(span.clone(), value)
}

/// Sets the value at a path of keys, and creates the tables on the way.
fn set<'t>(table: &mut DeTable<'t>, keys: &[String], value: Spanned<DeValue<'t>>) {
    let Some((first, rest)) = keys.split_first() else { return };
    let key = Spanned::new(value.span(), Cow::Owned(first.clone()));
    if rest.is_empty() {
        table.insert(key, value);
        return;
    }
    let inner = table.entry(key).or_insert_with(|| Spanned::new(value.span(), DeValue::Table(DeTable::new())));
    if !inner.get_ref().is_table() {
        *inner = Spanned::new(value.span(), DeValue::Table(DeTable::new()));
    }
    if let DeValue::Table(inner) = inner.get_mut() {
        set(inner, rest, value);
    }
}

fn collect_values(table: &DeTable<'_>, keys: &mut Vec<String>, sources: &Sources, values: &mut Vec<ConfigValue>) {
    for (key, value) in table {
        keys.push(key.get_ref().clone().into_owned());
        match value.get_ref() {
            DeValue::Table(inner) if !inner.is_empty() => collect_values(inner, keys, sources, values),
            _ => {
                let origin = sources.location(value.span().start).to_string();
                if let Ok(mut value) = Value::deserialize(ValueDeserializer::from(value.clone())) {
                    secrets::hide_value(&mut value, keys);
                    values.push(ConfigValue { key: keys.join("."), value, origin });
                }
            }
        }
        keys.pop();
    }
}
