// SPDX-License-Identifier: Apache-2.0

//! Descriptions of a configuration, made of its types.

use crate::Config;
use schemars::generate::SchemaSettings;
use serde_json::Value;

/// Longest line of a template.
const WIDTH: usize = 96;

/// Returns the JSON Schema (draft 2020-12) of a configuration. It has one spelling of each key.
pub fn schema() -> Value {
    let settings = SchemaSettings::draft2020_12().for_deserialize().with(|settings| {
        settings.inline_subschemas = true;
    });
    settings.into_generator().into_root_schema_for::<Config>().to_value()
}

/// Returns a configuration in TOML that sets nothing: each key is explained, and shown with an
/// example, in comments.
pub fn template() -> String {
    let schema = schema();
    let mut text = String::from(
        "# Configuration of pol-trainer. Remove the # before a key to set it. Paths are relative\n\
         # to this file. Flags and environment variables come before it.\n",
    );
    for (name, section) in properties(&schema) {
        text.push('\n');
        push_comment(&mut text, section);
        text.push_str(&format!("[{name}]\n"));
        for (key, property) in properties(section) {
            text.push('\n');
            push_comment(&mut text, property);
            // Strings, numbers, and arrays of JSON are those of TOML.
            let example = property["examples"].get(0).unwrap_or(&Value::Null);
            text.push_str(&format!("# {key} = {example}\n"));
        }
    }
    text
}

fn properties(schema: &Value) -> impl Iterator<Item = (&String, &Value)> {
    schema["properties"].as_object().into_iter().flatten()
}

/// Adds the description of a schema as a comment.
fn push_comment(text: &mut String, schema: &Value) {
    let mut line = String::from("#");
    for word in schema["description"].as_str().unwrap_or_default().split_whitespace() {
        if line.len() + word.len() >= WIDTH {
            text.push_str(&line);
            text.push('\n');
            line.truncate(1);
        }
        line.push(' ');
        line.push_str(word);
    }
    text.push_str(&line);
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::section_fields;
    use serde_json::json;

    #[test]
    fn the_schema_describes_each_key() {
        let schema = schema();
        assert_eq!(schema["additionalProperties"], json!(false));
        let mut sections: Vec<_> = properties(&schema).map(|(name, _)| name.as_str()).collect();
        sections.sort_unstable();
        assert_eq!(sections, ["ai_training", "blockchain", "data_acquisition", "node"]);
        for (name, section) in properties(&schema) {
            assert!(section["description"].is_string(), "{name}");
            let is_open = name == "data_acquisition";
            assert_eq!(section["additionalProperties"].is_null(), is_open, "{name}");
            for (key, property) in properties(section) {
                assert!(section_fields(name).contains(&key.as_str()), "{name}.{key}");
                assert!(property["description"].is_string(), "{name}.{key}");
                assert!(property["examples"].is_array(), "{name}.{key}");
            }
        }
        let node = &schema["properties"]["node"]["properties"];
        assert_eq!(node["port"]["minimum"], json!(1));
        assert_eq!(node["listen"]["type"], json!(["string", "null"]));
    }

    #[test]
    fn examples_of_the_template_are_valid() {
        let template = template();
        assert!(template.lines().all(|line| line.len() <= 100));
        assert!(Config::parse(&template).unwrap().statements().is_empty());
        let is_example = |line: &str| {
            line.strip_prefix("# ").is_some_and(|rest| {
                rest.split_once(" = ").is_some_and(|(key, _)| !key.contains(' '))
            })
        };
        // Two keys exclude others: a port, and the name of a key.
        let all: String = template
            .lines()
            .filter(|line| !line.starts_with("# port = ") && !line.starts_with("# account = "))
            .map(|line| if is_example(line) { &line[2..] } else { line })
            .fold(String::new(), |text, line| text + line + "\n");
        let config = Config::parse(&all).unwrap();
        assert_eq!(config.node.workers.map(u16::from), Some(8));
        assert_eq!(config.ai_training.learning_rate, Some(0.002));
        assert_eq!(config.blockchain.consensus_threshold, Some(0.67));
    }
}
