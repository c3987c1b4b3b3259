//! A connection without a socket: what the page asks by HTTP, over and over, as `browser/polling.rs` does, and what is done
//! about it on whichever server it reaches. Its steps are those between which the real one awaits; an answer may be lost.

use super::database::Database;
use super::product;
use crate::hub::missed::{Beyond, Search};
use crate::hub::polling::{Asked, ChangesOfRights, Told};
use crate::hub::registry::Registry;
use crate::hub::routing::RightsThere;
use crate::key::{OrganizationId, PersonId};
use crate::polling::Polling;
use crate::snapshot::Stamp;
use crate::wire::{ClientFrame, ServerFrame};
use std::collections::BTreeSet;

pub(super) struct Questions {
    person: PersonId,
    polling: Polling,
    under_way: UnderWay,
}

enum UnderWay {
    Nothing,
    Begun(Asked),
    Judged(Told),
    Looked { told: Told, beyond: Beyond, changed: ChangesOfRights, cursor: Stamp },
}

impl Questions {
    pub(super) fn of(person: PersonId) -> Self {
        Self { person, polling: Polling::default(), under_way: UnderWay::Nothing }
    }

    pub(super) fn said(&mut self, frame: ClientFrame) {
        self.polling.said(frame);
    }

    pub(super) fn heard(&mut self, frame: &ServerFrame) {
        self.polling.heard(frame);
    }

    /// Whether there is something to be found out: it is asked for ever, but not while nothing can come of it.
    pub(super) fn can_go_on(&self, database: &Database) -> bool {
        let is_behind = || {
            self.polling
                .cursor()
                .is_none_or(|cursor| !database.is_present(cursor.epoch) || cursor.snapshot != database.snapshot())
        };
        !matches!(self.under_way, UnderWay::Nothing) || self.polling.has_news() || is_behind()
    }

    /// One step; gives the frames of the answer, once it is there.
    pub(super) fn go_on(
        &mut self,
        registry: &Registry,
        most: usize,
        database: &Database,
        is_lost: impl FnOnce() -> bool,
    ) -> Result<Vec<ServerFrame>, String> {
        let person = self.person;
        let rights = |organizations: BTreeSet<OrganizationId>| -> RightsThere {
            let its = organizations.into_iter();
            its.filter_map(|its| Some((its, product::watch_rights(database, person, its)?))).collect()
        };
        match std::mem::replace(&mut self.under_way, UnderWay::Nothing) {
            UnderWay::Nothing => {
                let mut asked = Asked::of(self.polling.question())
                    .map_err(|error| format!("the server did not understand a question: {error}"))?;
                if asked.cursor.is_none() {
                    let now = database.beyond(&Search::nothing(person), most).stamp();
                    self.under_way = now.map_or(UnderWay::Nothing, |now| {
                        asked.cursor = Some(now);
                        UnderWay::Begun(asked)
                    });
                    return Ok(Vec::new());
                }
                self.under_way = UnderWay::Begun(asked);
            }
            UnderWay::Begun(asked) => {
                let (candidates, refused) = product::judge(
                    registry,
                    database,
                    person,
                    asked.watches.clone(),
                    &rights(asked.organizations.clone()),
                );
                self.under_way = UnderWay::Judged(Told::new(person, asked, candidates, refused));
            }
            UnderWay::Judged(told) => {
                let search = told.search();
                let beyond = database.beyond(&search, most);
                // Right after a crash nobody answers.
                let Some(cursor) = beyond.stamp() else { return Ok(Vec::new()) };
                let alone = Search { organizations: BTreeSet::new(), ..search };
                let alone = database.beyond(&alone, usize::MAX).events.unwrap_or_default();
                let changed = told.changes_of_rights(registry, &beyond, beyond.events.as_ref().unwrap_or(&alone));
                self.under_way = UnderWay::Looked { told, beyond, changed, cursor };
            }
            UnderWay::Looked { told, beyond, changed, cursor } => {
                let now = rights(changed.keys().copied().collect());
                if !is_lost() {
                    return Ok(told.frames(registry, &beyond, &changed, &now, cursor));
                }
            }
        }
        Ok(Vec::new())
    }
}
