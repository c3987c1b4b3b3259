//! The word that ends the tasks: said once, heard by all who listen, also by those who listen late.

use tokio::sync::watch;

/// Says it.
pub struct Shutdown(watch::Sender<bool>);

/// Hears it.
#[derive(Clone)]
pub struct Stopping(watch::Receiver<bool>);

impl Shutdown {
    pub fn new() -> (Self, Stopping) {
        let (say, hear) = watch::channel(false);
        (Self(say), Stopping(hear))
    }

    pub fn begin(&self) {
        self.0.send_replace(true);
    }
}

impl Stopping {
    /// Returns when it has been said. Safe to cancel.
    pub async fn begun(&mut self) {
        if self.0.wait_for(|said| *said).await.is_err() {
            // Whoever could say it is gone without a word: a server dropped instead of stopped goes on.
            std::future::pending::<()>().await;
        }
    }
}
