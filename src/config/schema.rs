//! JSON Schemas of the configuration files, for editors: made from the declarations of the keys, as the reference is.
//! They say which keys there are, what each means, of which kind its value is and which must be there. What values mean
//! together, and which words and numbers are taken, `cellgate check` says.

use serde_json::{Map, Value, json};

use super::raw::{self, Key, Keys, Outline};

/// Where the schemas are, below which a file's name and `.json` stand: a name and no address, for nothing is fetched.
const ID: &str = "urn:cellgate:schema:";

/// A file that people write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SchemaOf {
    /// `boot.yaml`.
    Boot,
    /// `cellgate.yaml`.
    Routing,
    /// The file that `clients.file` names.
    Clients,
    /// The account table in YAML.
    Accounts,
    /// The table of environments in YAML.
    Environments,
}

impl SchemaOf {
    /// Each once.
    pub const ALL: [Self; 5] = [Self::Boot, Self::Routing, Self::Clients, Self::Accounts, Self::Environments];

    /// As it is called; of those that the configuration names, as in the example.
    pub const fn file(self) -> &'static str {
        match self {
            Self::Boot => "boot.yaml",
            Self::Routing => "cellgate.yaml",
            Self::Clients => "clients.yaml",
            Self::Accounts => "accounts.yaml",
            Self::Environments => "environments.yaml",
        }
    }

    const fn keys(self) -> &'static [Key] {
        match self {
            Self::Boot => raw::Boot::KEYS,
            Self::Routing => raw::Routing::KEYS,
            Self::Clients => raw::Clients::KEYS,
            Self::Accounts => raw::Accounts::KEYS,
            Self::Environments => raw::Environments::KEYS,
        }
    }

    /// Its JSON Schema (draft 2020-12), as text.
    pub fn schema(self) -> String {
        let mut schema = mapping(self.keys());
        schema.insert("$schema".to_owned(), "https://json-schema.org/draft/2020-12/schema".into());
        schema.insert("$id".to_owned(), format!("{ID}{}:1", self.file()).into());
        schema.insert("title".to_owned(), format!("{} of cellgate", self.file()).into());
        // The only version of every format so far.
        schema["properties"]["version"]["const"] = 1.into();
        format!("{:#}\n", Value::Object(schema))
    }
}

fn mapping(keys: &[Key]) -> Map<String, Value> {
    let properties: Map<String, Value> =
        keys.iter().map(|key| (key.name.to_owned(), property(key))).collect();
    let required: Vec<&str> =
        keys.iter().filter(|key| (key.default)() == raw::REQUIRED).map(|key| key.name).collect();
    let mut schema = Map::new();
    schema.insert("type".to_owned(), "object".into());
    schema.insert("properties".to_owned(), properties.into());
    schema.insert("additionalProperties".to_owned(), false.into());
    if !required.is_empty() {
        schema.insert("required".to_owned(), required.into());
    }
    schema
}

/// A key with what it means. Its default is said in words: it may stand for more than a value, as `admin.sock in
/// state_dir` does.
fn property(key: &Key) -> Value {
    let mut schema = value(&key.outline);
    let meaning = key.meaning.trim();
    let default = (key.default)();
    let description = match default.as_str() {
        raw::REQUIRED | raw::NONE => meaning.to_owned(),
        default => format!("{meaning} Default: {default}."),
    };
    schema.insert("description".to_owned(), description.into());
    Value::Object(schema)
}

fn value(outline: &Outline) -> Map<String, Value> {
    let schema = match outline {
        Outline::Leaf("text") => json!({ "type": "string" }),
        Outline::Leaf("true or false") => json!({ "type": "boolean" }),
        Outline::Leaf("whole number") => json!({ "type": "integer", "minimum": 0 }),
        // Ids: digits, with or without quotes.
        Outline::Leaf(_) => json!({ "type": ["integer", "string"], "minimum": 0, "pattern": "^[0-9]+$" }),
        Outline::List(item) => json!({ "type": "array", "items": value(item) }),
        Outline::Mapping(keys) => return mapping(keys),
        Outline::WordOr(word, keys) => json!({ "anyOf": [{ "const": word }, mapping(keys)] }),
    };
    match schema {
        Value::Object(schema) => schema,
        _ => Map::new(),
    }
}
