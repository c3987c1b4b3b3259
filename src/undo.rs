//! What can be taken back, and what can be done again. Pure.

use crate::overlay::AnyMutation;

/// So many steps are remembered.
const MOST_STEPS: usize = 100;

/// Something that the person did, as one step: of one mutation, or of many (a bulk).
#[derive(Clone)]
pub struct Step {
    /// What was done, in the person's words.
    pub label: String,
    pub done: Vec<AnyMutation>,
}

impl Step {
    /// What takes the step back, in reverse order; none where a part of it cannot be taken back.
    fn inverse(&self) -> Option<Vec<AnyMutation>> {
        self.done.iter().rev().map(|mutation| mutation.inverse()).collect()
    }
}

/// The steps of one page.
#[derive(Default)]
pub struct History {
    undoable: Vec<Step>,
    redoable: Vec<Step>,
}

impl History {
    /// Something was done. What had been taken back before cannot be done again any more. Gives whether the step can be
    /// taken back.
    pub fn did(&mut self, step: Step) -> bool {
        self.redoable.clear();
        if step.inverse().is_none() {
            return false;
        }
        self.undoable.push(step);
        if self.undoable.len() > MOST_STEPS {
            self.undoable.remove(0);
        }
        true
    }

    /// Takes the last step back: gives what is to be made for that, with the step's label.
    pub fn undo(&mut self) -> Option<Step> {
        Self::turn(&mut self.undoable, &mut self.redoable)
    }

    /// Does again what was taken back last.
    pub fn redo(&mut self) -> Option<Step> {
        Self::turn(&mut self.redoable, &mut self.undoable)
    }

    fn turn(from: &mut Vec<Step>, to: &mut Vec<Step>) -> Option<Step> {
        let step = from.pop()?;
        let inverse = Step { done: step.inverse()?, label: step.label };
        to.push(inverse.clone());
        Some(inverse)
    }

    /// Forgets everything: the person has left.
    pub fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ApiError;
    use crate::key::OrganizationId;
    use crate::overlay::{Mutation, MutationId, Shown};
    use crate::wire::Written;
    use serde::{Deserialize, Serialize};
    use std::sync::Arc;
    use uuid::Uuid;

    #[derive(Clone, Serialize, Deserialize)]
    struct Turn {
        from: i64,
        to: i64,
    }

    impl Mutation for Turn {
        const NAME: &'static str = "turn";
        type Output = i64;

        fn organization(&self) -> OrganizationId {
            OrganizationId(Uuid::nil())
        }

        fn records(&self) -> Vec<Uuid> {
            Vec::new()
        }

        fn label(&self) -> String {
            format!("{} to {}", self.from, self.to)
        }

        fn show(&self, _: &mut Shown<'_>) {}

        fn inverse(&self) -> Option<AnyMutation> {
            (self.to != 0).then(|| Arc::new(Turn { from: self.to, to: self.from }) as AnyMutation)
        }

        async fn send(self, _: MutationId) -> Result<Written<i64>, ApiError> {
            Err(ApiError::internal())
        }
    }

    fn step(turns: &[(i64, i64)]) -> Step {
        let done = turns.iter().map(|(from, to)| Arc::new(Turn { from: *from, to: *to }) as AnyMutation).collect();
        Step { label: "step".to_owned(), done }
    }

    fn labels(step: Option<Step>) -> Vec<String> {
        step.into_iter().flat_map(|step| step.done).map(|mutation| mutation.label()).collect()
    }

    #[test]
    fn a_bulk_is_taken_back_in_one_step_in_reverse_and_done_again() {
        let mut history = History::default();
        assert!(history.did(step(&[(1, 2), (3, 4)])));
        assert_eq!(labels(history.undo()), ["4 to 3", "2 to 1"]);
        assert!(history.undo().is_none());
        assert_eq!(labels(history.redo()), ["1 to 2", "3 to 4"]);
        assert_eq!(labels(history.undo()), ["4 to 3", "2 to 1"]);
    }

    #[test]
    fn something_new_ends_what_could_be_done_again() {
        let mut history = History::default();
        history.did(step(&[(1, 2)]));
        history.undo();
        history.did(step(&[(5, 6)]));
        assert!(history.redo().is_none());
    }

    #[test]
    fn what_has_no_inverse_is_no_step() {
        let mut history = History::default();
        history.did(step(&[(1, 2)]));
        assert!(!history.did(step(&[(5, 6), (7, 0)])));
        assert_eq!(labels(history.undo()), ["2 to 1"]);
    }
}
