//! What the targets share.

use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::Debug;

/// What can be read is written so that the same is read back. None where it cannot be read.
pub fn reads_back<T: Serialize + DeserializeOwned + PartialEq + Debug>(bytes: &[u8]) -> Option<T> {
    let value: T = serde_json::from_slice(bytes).ok()?;
    let written = serde_json::to_string(&value).expect("what was read can be written");
    match serde_json::from_str::<T>(&written) {
        Ok(again) => assert_eq!(again, value, "written as {written}"),
        Err(why) => panic!("{value:?} is written as {written}, which cannot be read: {why}"),
    }
    Some(value)
}
