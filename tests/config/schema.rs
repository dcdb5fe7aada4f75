//! `docs/schema/` says what the code says.

use cellgate::config::schema::SchemaOf;
use serde_json::Value;

use super::codes::same_as_file;

#[test]
fn the_schemas_are_printed_from_the_declarations() {
    for of in SchemaOf::ALL {
        same_as_file(&format!("docs/schema/{}.json", of.file()), &of.schema(), "schema");
    }
}

#[test]
fn a_schema_says_what_a_key_means_and_which_must_be_there() {
    let schema: Value = serde_json::from_str(&SchemaOf::Boot.schema()).unwrap();
    assert_eq!(schema["required"], serde_json::json!(["version", "listeners"]));
    let listener = &schema["properties"]["listeners"]["items"];
    assert_eq!(listener["additionalProperties"], false);
    assert_eq!(listener["properties"]["https_port"]["type"], "integer");
    let said = listener["properties"]["https_port"]["description"].as_str().unwrap();
    assert!(said.ends_with("Default: 443."), "{said}");
}
