//! JSON arguments of server functions that name the field which cannot be read, however deep it lies.

use leptos::server_fn::codec::Post;
use leptos::server_fn::{Bytes, ContentType, Decodes, Encodes, Format, FormatType};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The `input` of a server function that takes JSON in a POST.
pub type Arguments = Post<NamingJson>;

/// JSON whose errors read ``field `path.to.it`: what is wrong``.
pub struct NamingJson;

impl ContentType for NamingJson {
    const CONTENT_TYPE: &'static str = "application/json";
}

impl FormatType for NamingJson {
    const FORMAT_TYPE: Format = Format::Text;
}

impl<T: Serialize> Encodes<T> for NamingJson {
    type Error = serde_json::Error;

    fn encode(arguments: &T) -> Result<Bytes, Self::Error> {
        serde_json::to_vec(arguments).map(Bytes::from)
    }
}

impl<T: DeserializeOwned> Decodes<T> for NamingJson {
    type Error = String;

    fn decode(bytes: Bytes) -> Result<T, Self::Error> {
        let mut json = serde_json::Deserializer::from_slice(&bytes);
        let arguments = serde_path_to_error::deserialize(&mut json).map_err(|error| {
            let path = error.path().to_string();
            let why = error.into_inner().to_string();
            // A missing or unknown field is named by serde itself; "." is the whole.
            if path == "." || why.contains("field `") { why } else { format!("field `{path}`: {why}") }
        })?;
        json.end().map_err(|error| error.to_string())?;
        Ok(arguments)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Kind, OrganizationId};
    use leptos::server_fn::error::{FromServerFnError, ServerFnErrorErr};
    use serde::Deserialize;

    #[derive(Debug, Deserialize)]
    #[allow(dead_code)]
    struct Sent {
        organization: OrganizationId,
        changes: Changes,
    }

    #[derive(Debug, Deserialize)]
    #[allow(dead_code)]
    struct Changes {
        quantity: Option<i32>,
    }

    #[test]
    fn what_cannot_be_read_is_named_by_its_path() {
        let cases = [
            (r#"{"organization": "no", "changes": {}}"#, "organization"),
            (
                r#"{"organization": "00000000-0000-0000-0000-000000000001", "changes": {"quantity": "x"}}"#,
                "changes.quantity",
            ),
            (r#"{"organization": "00000000-0000-0000-0000-000000000001"}"#, "changes"),
        ];
        for (json, named) in cases {
            let why = <NamingJson as Decodes<Sent>>::decode(Bytes::from_static(json.as_bytes())).expect_err(json);
            let error = crate::ApiError::from_server_fn_error(ServerFnErrorErr::Args(why));
            assert_eq!(error.kind, Kind::Malformed);
            assert!(error.fields.contains_key(named), "{json}: {error:?}");
        }
    }
}
