//! The digest of a plan: what people sign. It follows from the content alone, however that is spaced and in whatever
//! order its keys stand, so that whoever signs a file can make it once more from what they read.

use aws_lc_rs::digest::{SHA256, digest};
use serde_json::Value;

use crate::policy::hex::hex;

/// Keys beside the content: they depend on the day, the books, the guards and the machine, or are the digest itself.
const BESIDE: [&str; 9] =
    ["version", "verdict", "digest", "fleet", "restart", "traffic", "objections", "standing", "replayed"];

/// SHA-256 of the content of a plan as JSON, lower-case hex. A key that is not known here is content: nobody can add
/// to what was signed.
pub fn digest_of(plan: &Value) -> String {
    let mut text = String::new();
    match plan {
        Value::Object(fields) => {
            let content = fields.iter().filter(|(key, _)| !BESIDE.contains(&key.as_str()));
            write_object(content, &mut text);
        }
        other => write(other, &mut text),
    }
    hex(digest(&SHA256, text.as_bytes()))
}

/// The same without what stands beside the content.
pub(super) fn content_of(plan: &Value) -> Value {
    let mut content = plan.clone();
    if let Value::Object(fields) = &mut content {
        fields.retain(|key, _| !BESIDE.contains(&key.as_str()));
    }
    content
}

/// JSON without spaces, keys in their order.
fn write(value: &Value, text: &mut String) {
    match value {
        Value::Object(fields) => write_object(fields.iter(), text),
        Value::Array(items) => {
            let mut before = '[';
            for item in items {
                text.push(before);
                write(item, text);
                before = ',';
            }
            text.push_str(if items.is_empty() { "[]" } else { "]" });
        }
        plain => text.push_str(&plain.to_string()),
    }
}

fn write_object<'v>(fields: impl Iterator<Item = (&'v String, &'v Value)>, text: &mut String) {
    let mut fields: Vec<_> = fields.collect();
    fields.sort_by_key(|(key, _)| *key);
    text.push('{');
    for (position, (key, value)) in fields.into_iter().enumerate() {
        if position > 0 {
            text.push(',');
        }
        text.push_str(&Value::from(key.as_str()).to_string());
        text.push(':');
        write(value, text);
    }
    text.push('}');
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn it_is_of_the_content_and_of_all_of_it() {
        let plan =
            json!({ "base": "a", "accounts": { "after": 2, "before": 1 }, "cells": [], "digest": "x" });
        let same = json!({ "cells": [], "fleet": "f", "accounts": { "before": 1, "after": 2 }, "base": "a" });
        assert_eq!(digest_of(&plan), digest_of(&same));
        let mut text = String::new();
        write(&json!({ "b": [1, "x\n", null], "a": {} }), &mut text);
        assert_eq!(text, r#"{"a":{},"b":[1,"x\n",null]}"#);
        for other in [
            json!({ "base": "b", "accounts": { "after": 2, "before": 1 }, "cells": [] }),
            json!({ "base": "a", "accounts": { "after": 2, "before": 2 }, "cells": [] }),
            json!({ "base": "a", "accounts": { "after": 2, "before": 1 }, "cells": [], "more": 1 }),
            json!({ "base": "a", "accounts": { "after": 2, "before": 1 }, "cells": [[]] }),
        ] {
            assert_ne!(digest_of(&plan), digest_of(&other), "{other}");
        }
    }
}
