//! Whether the leading tab is still there. Its lock says when it is gone; a browser may also freeze it, and then it keeps the
//! lock and does nothing. Pure: looked at every [`LOOK_EVERY`] by each tab that follows.

/// In milliseconds.
pub const LOOK_EVERY: u32 = 3_000;

/// After so many questions without a word the leader's place is taken.
const UNANSWERED: u32 = 3;

/// What a tab has heard of the one that leads.
#[derive(Debug, Default)]
pub struct Vigil {
    has_heard: bool,
    asked: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Nothing,
    /// Ask whether anybody leads.
    Ask,
    /// Lead in its place.
    Take,
}

/// Who looks at the tab that follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Looked {
    At,
    /// Nobody misses what does not come. And of tabs that slept together none takes the other's place.
    Away,
}

impl Vigil {
    /// The leader said something.
    pub fn heard(&mut self) {
        (self.has_heard, self.asked) = (true, 0);
    }

    /// It is time to look again.
    pub fn look(&mut self, looked: Looked) -> Step {
        if looked == Looked::Away {
            *self = Self::default();
            return Step::Nothing;
        }
        if std::mem::take(&mut self.has_heard) {
            return Step::Nothing;
        }
        if self.asked == UNANSWERED {
            *self = Self::default();
            return Step::Take;
        }
        self.asked += 1;
        Step::Ask
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn looks(vigil: &mut Vigil, count: usize) -> Vec<Step> {
        (0..count).map(|_| vigil.look(Looked::At)).collect()
    }

    #[test]
    fn a_leader_that_answers_nothing_is_replaced_and_not_before_it_was_asked_three_times() {
        let mut vigil = Vigil::default();
        vigil.heard();
        assert_eq!(looks(&mut vigil, 5), [Step::Nothing, Step::Ask, Step::Ask, Step::Ask, Step::Take]);
    }

    #[test]
    fn a_word_at_the_last_moment_saves_it() {
        let mut vigil = Vigil::default();
        assert_eq!(looks(&mut vigil, 3), [Step::Ask, Step::Ask, Step::Ask]);
        vigil.heard();
        assert_eq!(looks(&mut vigil, 2), [Step::Nothing, Step::Ask]);
    }

    #[test]
    fn who_is_not_looked_at_takes_no_place_and_begins_anew_when_it_is() {
        let mut vigil = Vigil::default();
        looks(&mut vigil, 3);
        assert_eq!(vigil.look(Looked::Away), Step::Nothing);
        assert_eq!(looks(&mut vigil, 4), [Step::Ask, Step::Ask, Step::Ask, Step::Take]);
    }
}
