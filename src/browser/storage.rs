//! What this device keeps of a person, in IndexedDB: values with their stamps, and mutations that are not everywhere
//! yet. One database a person; keys of values begin with their organization.

use crate::kept::replaces;
use crate::key::{OrganizationId, PersonId};
use crate::overlay::MutationId;
use crate::snapshot::Stamp;
use crate::tabs::Stored;
use crate::wire::Read;
use idb::{Database, DatabaseEvent, Error, Factory, KeyRange, ObjectStoreParams, Query, Transaction, TransactionMode};
use leptos::wasm_bindgen::{JsCast, JsValue};
use serde::{Deserialize, Serialize};
use web_sys::IdbDatabase;

/// JSON by key.
const VALUES: &str = "values";
/// Stamp and time of each value, apart from it: they are all read after the start, the values one by one when wanted.
const STAMPS: &str = "stamps";
const MUTATIONS: &str = "mutations";
const VERSION: u32 = 1;

/// A value that nobody has read or renewed for so long (in milliseconds) is no longer kept.
const KEEP: u64 = 30 * 24 * 60 * 60 * 1000;
/// At most so many values are kept, the latest.
const MOST_VALUES: usize = 20_000;
/// Some milliseconds' work.
const STAMPS_AT_ONCE: u32 = 500;

pub(super) struct Storage {
    database: Database,
}

/// Of a kept value: what it is worth.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Kept {
    #[serde(flatten)]
    stamp: Stamp,
    /// When it was written, in milliseconds since 1970.
    at: u64,
    /// Mutations that it contains, though nothing had been heard of them yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    contains: Vec<MutationId>,
}

fn name_of(person: PersonId) -> String {
    format!("millstream {person}")
}

fn text(value: &impl Serialize) -> JsValue {
    // Plain data; were it not, the entry would be one that cannot be read, and be passed over.
    JsValue::from_str(&serde_json::to_string(value).unwrap_or_default())
}

fn read<T: serde::de::DeserializeOwned>(value: &JsValue) -> Option<T> {
    serde_json::from_str(&value.as_string()?).ok()
}

impl Storage {
    /// # Errors
    /// Where there is no IndexedDB, or the browser does not let it be used.
    pub(super) async fn open(person: PersonId) -> Result<Self, Error> {
        let mut opening = Factory::new()?.open(&name_of(person), Some(VERSION))?;
        opening.on_upgrade_needed(|event| {
            if let Ok(database) = event.database() {
                for store in [VALUES, STAMPS, MUTATIONS] {
                    // Fails only for one that exists.
                    drop(database.create_object_store(store, ObjectStoreParams::new()));
                }
            }
        });
        let mut database = opening.await?;
        // Another tab deletes it, or opens it with a newer version of the application: not to be stood in the way of.
        database.on_version_change(|event| {
            let handle = event.current_target().and_then(|target| target.dyn_into::<IdbDatabase>().ok());
            if let Some(handle) = handle {
                handle.close();
            }
        });
        Ok(Self { database })
    }

    /// Deletes all that is kept of the person. Other tabs that have it open close it.
    ///
    /// # Errors
    /// Where the browser does not let it.
    pub(super) async fn delete(person: PersonId) -> Result<(), Error> {
        Factory::new()?.delete(&name_of(person))?.await
    }

    /// The keys of all kept values, with their stamps, read a part at a time: the page goes on between them. What is too old,
    /// or too much, is removed.
    pub(super) async fn stamps(&self, now: u64) -> Result<Vec<(String, Stamp)>, Error> {
        let mut all: Vec<(String, Option<Kept>)> = Vec::new();
        let mut last = None;
        loop {
            let transaction = self.database.transaction(&[STAMPS], TransactionMode::ReadOnly)?;
            let stamps = transaction.object_store(STAMPS)?;
            let beyond = |last: &JsValue| KeyRange::lower_bound(last, Some(true)).map(Query::from);
            let keys = stamps.get_all_keys(last.as_ref().map(beyond).transpose()?, Some(STAMPS_AT_ONCE))?.await?;
            let kept = stamps.get_all(last.as_ref().map(beyond).transpose()?, Some(STAMPS_AT_ONCE))?.await?;
            all.extend(keys.iter().zip(&kept).filter_map(|(key, kept)| Some((key.as_string()?, read::<Kept>(kept)))));
            last = keys.last().filter(|_| keys.len() == STAMPS_AT_ONCE as usize).cloned();
            if last.is_none() {
                break;
            }
        }
        all.sort_by_key(|(_, kept)| std::cmp::Reverse(kept.as_ref().map_or(0, |kept| kept.at)));
        let mut good = Vec::new();
        let mut outdated = Vec::new();
        for (key, kept) in all {
            match kept {
                Some(kept) if kept.at + KEEP > now && good.len() < MOST_VALUES => good.push((key, kept.stamp)),
                kept => outdated.push((key, kept)),
            }
        }
        if !outdated.is_empty() {
            self.remove_outdated(&outdated).await?;
        }
        Ok(good)
    }

    /// Removes these values, unless they have been written anew meanwhile.
    async fn remove_outdated(&self, outdated: &[(String, Option<Kept>)]) -> Result<(), Error> {
        let transaction = self.database.transaction(&[VALUES, STAMPS], TransactionMode::ReadWrite)?;
        let (values, stamps) = (transaction.object_store(VALUES)?, transaction.object_store(STAMPS)?);
        for (key, found) in outdated {
            let key = JsValue::from_str(key);
            let now = stamps.get(key.clone())?.await?.and_then(|now| read::<Kept>(&now));
            if now == *found {
                drop(values.delete(key.clone())?);
                drop(stamps.delete(key)?);
            }
        }
        transaction.await?;
        Ok(())
    }

    /// A kept value with its stamp, and the mutations that were written down when it was read.
    pub(super) async fn value(&self, key: &str) -> Result<Option<(Read<String>, Vec<MutationId>)>, Error> {
        let transaction = self.database.transaction(&[VALUES, STAMPS, MUTATIONS], TransactionMode::ReadOnly)?;
        // One after the other: a request that has ended before it is waited for is waited for in vain.
        let written = transaction.object_store(MUTATIONS)?.get_all_keys(None, None)?.await?;
        let key = JsValue::from_str(key);
        let stamp = transaction.object_store(STAMPS)?.get(key.clone())?.await?;
        let value = transaction.object_store(VALUES)?.get(key)?.await?;
        let kept = stamp.and_then(|stamp| read::<Kept>(&stamp));
        let id = |key: &JsValue| key.as_string()?.parse().ok().map(MutationId);
        let outbox = written.iter().filter_map(id).collect();
        let found = kept.zip(value.and_then(|value| value.as_string()));
        Ok(found.map(|(Kept { stamp: Stamp { snapshot, epoch }, contains, .. }, data)| {
            (Read { data, snapshot, epoch, contains }, outbox)
        }))
    }

    /// Keeps a value, unless a newer one is kept already.
    pub(super) async fn keep(&self, key: &str, value: &Read<String>, now: u64) -> Result<(), Error> {
        let transaction = self.database.transaction(&[VALUES, STAMPS], TransactionMode::ReadWrite)?;
        let (values, stamps) = (transaction.object_store(VALUES)?, transaction.object_store(STAMPS)?);
        let key = JsValue::from_str(key);
        let before = stamps.get(key.clone())?.await?.and_then(|before| read::<Kept>(&before));
        let stamp = value.stamp();
        if replaces(&stamp, before.as_ref().map(|before| &before.stamp)) {
            values.put(&JsValue::from_str(&value.data), Some(&key))?.await?;
            let kept = Kept { stamp, at: now, contains: value.contains.clone() };
            stamps.put(&text(&kept), Some(&key))?.await?;
        }
        transaction.await?;
        Ok(())
    }

    /// All mutations that are kept, in order; entries that cannot be read at all are none.
    pub(super) async fn mutations(&self) -> Result<Vec<Stored>, Error> {
        let transaction = self.database.transaction(&[MUTATIONS], TransactionMode::ReadOnly)?;
        let all = transaction.object_store(MUTATIONS)?.get_all(None, None)?.await?;
        Ok(all.iter().filter_map(read).collect())
    }

    pub(super) async fn keep_mutations(&self, all: &[Stored]) -> Result<(), Error> {
        let transaction = self.database.transaction(&[MUTATIONS], TransactionMode::ReadWrite)?;
        let store = transaction.object_store(MUTATIONS)?;
        for stored in all {
            // Not waited for one by one: the transaction fails with any of them.
            drop(store.put(&text(stored), Some(&JsValue::from_str(&stored.id.to_string())))?);
        }
        transaction.commit()?.await?;
        Ok(())
    }

    pub(super) async fn forget_mutations(&self, ids: &[MutationId]) -> Result<(), Error> {
        let transaction = self.database.transaction(&[MUTATIONS], TransactionMode::ReadWrite)?;
        let store = transaction.object_store(MUTATIONS)?;
        for id in ids {
            drop(store.delete(JsValue::from_str(&id.to_string()))?);
        }
        transaction.commit()?.await?;
        Ok(())
    }

    /// Removes all values of the organization.
    pub(super) async fn forget_values(&self, organization: OrganizationId) -> Result<(), Error> {
        let transaction = self.database.transaction(&[VALUES, STAMPS], TransactionMode::ReadWrite)?;
        remove_values(&transaction, organization).await?;
        transaction.await?;
        Ok(())
    }

    /// Removes all values and mutations of the organization.
    pub(super) async fn forget_all(&self, organization: OrganizationId) -> Result<(), Error> {
        let transaction = self.database.transaction(&[VALUES, STAMPS, MUTATIONS], TransactionMode::ReadWrite)?;
        remove_values(&transaction, organization).await?;
        let mutations = transaction.object_store(MUTATIONS)?;
        let all = mutations.get_all(None, None)?.await?;
        for stored in all.iter().filter_map(read::<Stored>).filter(|stored| stored.organization == organization) {
            mutations.delete(JsValue::from_str(&stored.id.to_string()))?.await?;
        }
        transaction.await?;
        Ok(())
    }

    pub(super) fn close(&self) {
        self.database.close();
    }
}

async fn remove_values(transaction: &Transaction, organization: OrganizationId) -> Result<(), Error> {
    // '0' is what follows '/'.
    let (from, to) = (format!("{organization}/"), format!("{organization}0"));
    for store in [VALUES, STAMPS] {
        let range = KeyRange::bound(&JsValue::from_str(&from), &JsValue::from_str(&to), None, Some(true))?;
        transaction.object_store(store)?.delete(range)?.await?;
    }
    Ok(())
}

/// That something could not be kept is no reason to stop: what is on screen is right, it only will not survive the page.
pub(super) fn lament(what: &str, why: &Error) {
    leptos::logging::warn!("{what}: {why}");
}
