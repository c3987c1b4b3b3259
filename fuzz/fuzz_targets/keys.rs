//! Keys that somebody wants to watch, with the filters of the product's own lists.
#![no_main]

use fuzz::reads_back;
use libfuzzer_sys::fuzz_target;
use millstream::Kind;
use millstream::hub::bench::resolve;
use millstream::hub::{Registry, WatchRights};
use millstream::key::{QueryKey, WireKey};
use std::sync::LazyLock;

static REGISTRY: LazyLock<Registry> = LazyLock::new(app::registry);
static RIGHTS: LazyLock<Vec<Option<WatchRights>>> = LazyLock::new(|| {
    let rights = |text: &str| Some(serde_json::from_str(text).expect(text));
    vec![
        rights(r#"{"modules": ["sales", "projects", "members", "customers"]}"#),
        rights(
            r#"{"modules": ["sales", "customers"], "only": {
              "sales_orders": {"facet": "customer_id", "values": ["00000000-0000-0000-0000-000000000001"]},
              "customers": {"facet": "id", "values": ["00000000-0000-0000-0000-000000000001"]}}}"#,
        ),
        rights(r#"{"modules": []}"#),
        None,
    ]
});

fuzz_target!(|bytes: &[u8]| {
    let Some(asked) = reads_back::<WireKey>(bytes) else { return };
    for rights in RIGHTS.iter() {
        let (key, reads) = match resolve(&REGISTRY, &asked, rights.as_ref()) {
            Ok(resolved) => resolved,
            Err(error) => {
                assert!(!error.message.is_empty() && error.message.chars().count() < 10_000, "{}", error.message);
                let is_named = !error.fields.is_empty();
                let is_about_rights = matches!(error.kind, Kind::Forbidden | Kind::NotFound);
                assert!(is_named != is_about_rights, "{error:?} of {asked:?}");
                continue;
            }
        };
        assert!(!reads.is_empty(), "{key} reads nothing");
        assert!(reads.iter().all(|read| REGISTRY.tables().contains(&read.table)), "{reads:?}");
        // A key has one name, on the wire and in caches: else it would be watched twice, or be found by nobody.
        let (again, reads_again) =
            resolve(&REGISTRY, &WireKey::from(&key), rights.as_ref()).unwrap_or_else(|why| panic!("{key}: {why}"));
        assert_eq!((&again, &reads_again), (&key, &reads));
        let text = key.to_string();
        let table = |name: &str| REGISTRY.tables().into_iter().find(|table| *table == name);
        assert_eq!(QueryKey::parse(&text, table).as_ref(), Some(&key), "{text}");
    }
    // Names that nobody wrote are read too.
    if let Ok(text) = std::str::from_utf8(bytes) {
        let known = QueryKey::parse(text, |_| Some("sales_orders"));
        if let Some(key) = known {
            let again = key.to_string();
            assert_eq!(QueryKey::parse(&again, |_| Some("sales_orders")), Some(key));
        }
    }
});
