//! What is written down on this device, and read back: values, and the mutations of the outbox.

use super::storage::{Storage, lament};
use super::{Driver, now};
use crate::client::{Client, Progress};
use crate::key::QueryKey;
use crate::overlay::{AnyMutation, MutationId};
use crate::tabs::{Sending, Stored, Word};
use crate::trace::What;
use crate::wire::Read;
use leptos::task::spawn_local;
use std::future::Future;
use std::rc::Rc;

impl Driver {
    pub(super) fn with_storage<F>(
        self: &Rc<Self>,
        complaint: &'static str,
        work: impl FnOnce(Rc<Storage>) -> F + 'static,
    ) where
        F: Future<Output = Result<(), idb::Error>> + 'static,
    {
        if let Some(storage) = self.storage.borrow().clone() {
            spawn_local(async move {
                if let Err(why) = work(storage).await {
                    lament(complaint, &why);
                }
            });
        }
    }

    pub(super) fn keep(self: &Rc<Self>, key: &QueryKey, read: Read<String>) {
        let (driver, key) = (self.clone(), key.clone());
        self.with_storage("a value could not be kept on this device", move |storage| async move {
            let kept = storage.keep(&key.to_string(), &read, now()).await;
            driver.act(|client| match &kept {
                Ok(()) => client.was_kept(&key, read.stamp()),
                Err(_) => client.was_not_kept(&key),
            });
            kept
        });
    }

    pub(super) fn keep_current(self: &Rc<Self>, key: &QueryKey) {
        if self.storage.borrow().is_none() {
            return; // not even written as JSON: while a page starts, that is all that it shows
        }
        let current = self.client.borrow().current(key);
        let written = current.and_then(|read| {
            let json = self.codec(key)?.encode(&read.data)?;
            Some(read.map(|_| json))
        });
        match written {
            Some(read) => {
                self.weigh(key, &read.data);
                self.keep(key, read);
            }
            None => self.act(|client| client.was_not_kept(key)),
        }
    }

    pub(super) fn restore(self: &Rc<Self>, key: QueryKey) {
        let driver = self.clone();
        let storage = self.storage.borrow().clone();
        spawn_local(async move {
            let found = match storage {
                Some(storage) => storage.value(&key.to_string()).await.unwrap_or_else(|why| {
                    lament("a kept value could not be read", &why);
                    None
                }),
                None => None,
            };
            let (found, outbox) = found.unzip();
            let json = found.as_ref().map(|read| read.data.clone()).unwrap_or_default();
            let codec = driver.codec(&key);
            let value =
                found.and_then(|read| read.and_then(|json| codec.and_then(|codec| codec.decode(&json)).ok_or(())).ok());
            if let Some(read) = &value {
                driver.note(Some(&key), || What::Taken(Some(read.stamp())));
            }
            driver.act(|client| client.restored(&key, value, &outbox.unwrap_or_default()));
            driver.client.borrow_mut().came(&key, now());
            driver.weigh(&key, &json);
        });
    }

    /// Reads of what values this device keeps.
    pub(super) async fn read_stamps(self: Rc<Self>) {
        let storage = self.storage.borrow().clone();
        let found = match storage {
            Some(storage) => storage.stamps(now()).await,
            None => Ok(Vec::new()),
        };
        let stamps = found.unwrap_or_else(|why| {
            lament("what is kept on this device could not be read", &why);
            Vec::new()
        });
        let kept = {
            let catalogue = self.catalogue.borrow();
            stamps.into_iter().filter_map(|(key, stamp)| Some((catalogue.key(&key)?, stamp))).collect()
        };
        self.act(|client| client.found_kept(kept));
    }

    pub(super) fn stored_mutations(&self) -> Vec<Stored> {
        let all = self.client.borrow().mutations();
        all.iter().map(|(id, mutation, progress)| Stored::of(*id, &**mutation, progress.clone())).collect()
    }

    /// Writes down how far these have come, at once; of those that are everywhere already, nothing.
    pub(super) fn keep_mutations(self: &Rc<Self>, ids: &[MutationId]) {
        let found: Vec<_> = {
            let client = self.client.borrow();
            let known = ids.iter().filter_map(|id| Some((*id, client.mutation(*id)?)));
            let ours = known.filter(|(id, _)| self.line.with(|tabs| tabs.writes_down(*id)));
            ours.map(|(id, (mutation, progress))| Stored::of(id, &*mutation, progress)).collect()
        };
        if !found.is_empty() {
            self.with_storage("a change could not be kept on this device", move |storage| async move {
                storage.keep_mutations(&found).await
            });
        }
    }

    pub(super) fn forget_mutations(self: &Rc<Self>, ids: Vec<MutationId>) {
        self.made_here.borrow_mut().retain(|id| !ids.contains(id));
        if self.line.is_leading() {
            self.with_storage("a change that is done could not be forgotten", move |storage| async move {
                storage.forget_mutations(&ids).await
            });
        }
    }

    /// A mutation that another page made.
    pub(super) fn learn_of(self: &Rc<Self>, stored: Stored, sending: Sending) {
        self.read(stored, |client, id, mutation, progress| client.learn(id, mutation, progress, sending));
    }

    /// How far the leader says that it has come.
    pub(super) fn follow(self: &Rc<Self>, stored: Stored, sending: Sending) {
        self.read(stored, |client, id, mutation, progress| client.follow(id, mutation, progress, sending));
    }

    /// Tells the client of a mutation, or that this release cannot read it.
    fn read(self: &Rc<Self>, stored: Stored, tell: impl FnOnce(&mut Client, MutationId, AnyMutation, Progress)) {
        let mutation = self.catalogue.borrow().read_mutation(&stored.name, &stored.body);
        match mutation {
            Some(mutation) => self.act(|client| tell(client, stored.id, mutation, stored.progress)),
            None => self.act(|client| client.found_unreadable(stored.id, stored.organization, stored.label)),
        }
    }

    /// Learns of it, and tells the others how far it has come.
    pub(super) fn pass(self: &Rc<Self>, stored: Stored, sending: Sending) {
        let id = stored.id;
        let as_told = stored.clone();
        self.learn_of(stored, sending);
        if self.line.has_others() {
            let known = self.client.borrow().mutation(id);
            let stored = known.map_or(as_told, |(mutation, progress)| Stored::of(id, &*mutation, progress));
            self.line.say(Word::Learn(stored, sending));
        }
    }

    /// All that is written down of the outbox.
    pub(super) async fn written_mutations(&self) -> Vec<Stored> {
        let storage = self.storage.borrow().clone();
        let Some(storage) = storage else { return Vec::new() };
        storage.mutations().await.unwrap_or_else(|why| {
            lament("the outbox of this device could not be read", &why);
            Vec::new()
        })
    }
}
