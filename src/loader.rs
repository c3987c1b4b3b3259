//! Questions to the database that many ask at about the same time, asked as one.
//!
//! While one statement is under way the others' questions gather, and the next statement asks for all of them: whoever comes alone is
//! asked for at once, and ten thousand who come back together cost some dozens of statements. The idea is DataLoader's.

use std::fmt;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

/// More than these are not asked for by one statement.
const MOST_TOGETHER: usize = 1_000;

/// Gathers questions of one kind. Its work ends with it.
#[derive(Debug)]
pub struct Loader<Question, Answer> {
    questions: mpsc::UnboundedSender<Asked<Question, Answer>>,
}

#[derive(Debug)]
struct Asked<Question, Answer> {
    question: Question,
    answer: oneshot::Sender<Answer>,
}

/// The statement that asked for this question, and for others, has failed; why stands in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the database did not answer")]
pub struct Unanswered;

impl<Question: Send + 'static, Answer: Send + 'static> Loader<Question, Answer> {
    /// `load` answers all of the questions, in their order. `what` names them in the log.
    pub fn new<Loading, Why>(
        runtime: &Handle,
        what: &'static str,
        load: impl Fn(Vec<Question>) -> Loading + Send + 'static,
    ) -> Self
    where
        Loading: Future<Output = Result<Vec<Answer>, Why>> + Send,
        Why: fmt::Display + Send,
    {
        let (questions, mut gathered) = mpsc::unbounded_channel::<Asked<Question, Answer>>();
        runtime.spawn(async move {
            let mut together = Vec::new();
            while gathered.recv_many(&mut together, MOST_TOGETHER).await > 0 {
                let asked = together.drain(..).filter(|asked| !asked.answer.is_closed());
                let (questions, answers): (Vec<_>, Vec<_>) =
                    asked.map(|Asked { question, answer }| (question, answer)).unzip();
                if questions.is_empty() {
                    continue;
                }
                let count = questions.len();
                match load(questions).await {
                    Ok(loaded) => {
                        for (to, answer) in answers.into_iter().zip(loaded) {
                            // Whoever has gone meanwhile needs no answer.
                            drop(to.send(answer));
                        }
                    }
                    Err(why) => tracing::warn!(%why, count, "{what} could not be asked for"),
                }
            }
        });
        Self { questions }
    }

    /// # Errors
    /// Where the statement failed. It is not asked again: when to do so is for the caller to say.
    pub async fn load(&self, question: Question) -> Result<Answer, Unanswered> {
        let (answer, loaded) = oneshot::channel();
        self.questions.send(Asked { question, answer }).map_err(|_| Unanswered)?;
        loaded.await.map_err(|_| Unanswered)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};
    use tokio::sync::Semaphore;

    #[tokio::test]
    async fn who_comes_while_others_are_asked_for_is_asked_for_with_those_who_wait_too() {
        let statements = Arc::new(Mutex::new(Vec::new()));
        let may_answer = Arc::new(Semaphore::new(0));
        let begun = Arc::new(Semaphore::new(0));
        let loader = {
            let (statements, may_answer, begun) = (statements.clone(), may_answer.clone(), begun.clone());
            Loader::new(&Handle::current(), "squares", move |questions: Vec<u64>| {
                statements.lock().expect("no test has failed in it").push(questions.clone());
                begun.add_permits(1);
                let may_answer = may_answer.clone();
                async move {
                    may_answer.acquire().await.map_err(|error| error.to_string())?.forget();
                    let is_fine = !questions.contains(&13);
                    is_fine.then(|| questions.iter().map(|number| number * number).collect()).ok_or("13".to_owned())
                }
            })
        };
        let loader = Arc::new(loader);
        let ask = |number| {
            let loader = loader.clone();
            tokio::spawn(async move { loader.load(number).await })
        };
        let first = ask(2);
        begun.acquire().await.expect("it stands").forget();
        let mut together: Vec<_> = [3, 4, 5].map(ask).into();
        let gone = together.remove(1);
        // On one thread: they all have asked before this one goes on.
        tokio::task::yield_now().await;
        gone.abort();
        tokio::task::yield_now().await;
        may_answer.add_permits(2);
        assert_eq!(first.await.expect("no panic"), Ok(4));
        for (asked, square) in together.into_iter().zip([9, 25]) {
            assert_eq!(asked.await.expect("no panic"), Ok(square));
        }
        assert_eq!(*statements.lock().expect("no test has failed in it"), [vec![2], vec![3, 5]]);
        may_answer.add_permits(2);
        assert_eq!(ask(13).await.expect("no panic"), Err(Unanswered));
        assert_eq!(ask(6).await.expect("no panic"), Ok(36), "one failure is not the end");
    }
}
