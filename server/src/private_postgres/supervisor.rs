//! What keeps one postmaster running, and stops it.

use super::cluster::{Cluster, Life, life_of, passes};
use super::data_directory::Lock;
use super::error::{Error, file};
use super::{POLL, REFUSAL_PAUSE, START_BOUND, STOP_BOUND};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;
use tokio::process::Child;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

/// An adopted postmaster is nobody's child here, so its end is noticed by looking.
const ADOPTED_POLL: Duration = Duration::from_millis(200);
const ASK_AGAIN: Duration = Duration::from_millis(500);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// PostgreSQL that stayed up this long is not failing over and over.
const STEADY: Duration = Duration::from_secs(60);

/// A postmaster, started by us or by the server before us.
#[derive(Debug)]
pub(super) enum Postmaster {
    Child(Child),
    Adopted(i32),
}

impl Postmaster {
    /// Comes back when it is gone, with a word on how.
    pub(super) async fn gone(&mut self, cluster: &Path) -> String {
        match self {
            Self::Child(child) => match child.wait().await {
                Ok(status) => status.to_string(),
                Err(why) => why.to_string(),
            },
            Self::Adopted(pid) => {
                while life_of(*pid, cluster) == Life::Postmaster {
                    sleep(ADOPTED_POLL).await;
                }
                "it is no longer there".to_owned()
            }
        }
    }

    /// Its number, as long as that can be signalled without hitting a stranger.
    pub(super) fn pid(&self, cluster: &Path) -> Option<i32> {
        match self {
            // None once it was waited for.
            Self::Child(child) => child.id().and_then(|pid| i32::try_from(pid).ok()),
            Self::Adopted(pid) => (life_of(*pid, cluster) == Life::Postmaster).then_some(*pid),
        }
    }
}

/// Keeps one postmaster running.
#[derive(Debug)]
pub(super) struct Supervisor {
    pub(super) cluster: Cluster,
    /// Set as soon as there is one, ready or not, so that a stop at any moment finds it.
    pub(super) postmaster: Option<Postmaster>,
    pub(super) pid: Arc<AtomicI32>,
    pub(super) _lock: Arc<Lock>,
}

/// What ends the watch.
enum End {
    /// `stop` was called.
    Stop,
    /// The handle was dropped: PostgreSQL is left to whoever comes next.
    Leave,
}

async fn end(told: &mut watch::Receiver<bool>) -> End {
    match told.wait_for(|stop| *stop).await {
        Ok(_) => End::Stop,
        Err(_) => End::Leave,
    }
}

impl Supervisor {
    pub(super) async fn watch(mut self, mut told: watch::Receiver<bool>) -> Result<(), Error> {
        let ended = tokio::select! {
            ended = end(&mut told) => ended,
            never = self.keep_up() => match never {},
        };
        match ended {
            End::Stop => self.shut_down().await,
            End::Leave => Ok(()),
        }
    }

    /// Starts PostgreSQL again whenever it ends, more slowly each time it does not stay.
    async fn keep_up(&mut self) -> std::convert::Infallible {
        let mut pause = FIRST_PAUSE;
        loop {
            let since = Instant::now();
            if let Some(postmaster) = &mut self.postmaster {
                let how = postmaster.gone(&self.cluster.seat.cluster).await;
                tracing::warn!(
                    "PostgreSQL (process {}) ended ({how}); starting it again",
                    self.pid.load(Ordering::Relaxed)
                );
            }
            if since.elapsed() >= STEADY {
                pause = FIRST_PAUSE;
            }
            loop {
                sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
                match self.bring_up().await {
                    Ok(()) => break,
                    Err(why) => tracing::warn!("PostgreSQL did not come back: {why}"),
                }
            }
            tracing::warn!("PostgreSQL is back (process {})", self.pid.load(Ordering::Relaxed));
        }
    }

    /// Brings the cluster to a postmaster that answers: the one that runs, else a new one.
    pub(super) async fn bring_up(&mut self) -> Result<(), Error> {
        let deadline = Instant::now() + START_BOUND;
        loop {
            let up = match self.cluster.running() {
                Some(note) => self.adopt(note.pid, deadline).await?,
                None => self.launch(deadline).await?,
            };
            if up {
                return Ok(());
            }
            sleep(POLL).await;
        }
    }

    /// Waits for a running postmaster to answer; false where it ends instead.
    async fn adopt(&mut self, pid: i32, deadline: Instant) -> Result<bool, Error> {
        self.now(Postmaster::Adopted(pid), pid);
        while let Some(note) = self.cluster.running().filter(|note| note.pid == pid) {
            // Where it has its socket, and not where we would put one today.
            if let Some(sockets) = note.sockets
                && self.cluster.answers(&sockets).await?
            {
                self.cluster.sockets = sockets;
                tracing::info!("picked up the running PostgreSQL (process {pid})");
                return Ok(true);
            }
            self.bounded(pid, deadline, self.cluster.end_of_log().saturating_sub(4096))?;
            sleep(POLL).await;
        }
        Ok(false)
    }

    /// Starts a postmaster and waits for it to answer; false where it refused for a reason that
    /// passes.
    async fn launch(&mut self, deadline: Instant) -> Result<bool, Error> {
        let mark = self.cluster.end_of_log();
        if self.cluster.seat.account.is_some()
            && fs::metadata(&self.cluster.seat.cluster).is_ok_and(|found| found.uid() == 0)
        {
            self.cluster.seat.give_all(&self.cluster.seat.cluster)?;
        }
        let child = self.cluster.spawn()?;
        let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).unwrap_or(0);
        self.now(Postmaster::Child(child), pid);
        loop {
            if let Some(Postmaster::Child(child)) = &mut self.postmaster
                && let Some(status) =
                    child.try_wait().map_err(file("wait for", &self.cluster.programs.path("postgres")))?
            {
                let lines = self.cluster.log_since(mark);
                if passes(&lines) && Instant::now() < deadline {
                    self.cluster.set_false_note_aside()?;
                    sleep(REFUSAL_PAUSE).await;
                    return Ok(false);
                }
                return Err(Error::DidNotStart { status, log: self.cluster.log.clone(), lines });
            }
            // The answer may be that of another, started by a server killed before it wrote its
            // note; ours then ends by itself.
            if self.cluster.note().is_some_and(|note| note.pid == pid)
                && self.cluster.answers(&self.cluster.sockets).await?
            {
                tracing::info!("started PostgreSQL (process {pid})");
                return Ok(true);
            }
            self.bounded(pid, deadline, mark)?;
            sleep(POLL).await;
        }
    }

    pub(super) fn now(&mut self, postmaster: Postmaster, pid: i32) {
        self.postmaster = Some(postmaster);
        self.pid.store(pid, Ordering::Relaxed);
    }

    fn bounded(&self, pid: i32, deadline: Instant, mark: u64) -> Result<(), Error> {
        if Instant::now() < deadline {
            return Ok(());
        }
        Err(Error::NotReady { pid, log: self.cluster.log.clone(), lines: self.cluster.log_since(mark) })
    }

    /// Shuts down without waiting for clients, which are our own pools.
    pub(super) async fn shut_down(mut self) -> Result<(), Error> {
        let cluster = self.cluster.seat.cluster.clone();
        let Some(mut postmaster) = self.postmaster.take() else {
            return Ok(());
        };
        let Some(pid) = postmaster.pid(&cluster) else {
            return Ok(());
        };
        let gone = async {
            match &mut postmaster {
                Postmaster::Child(_) => drop(postmaster.gone(&cluster).await),
                Postmaster::Adopted(pid) => {
                    while life_of(*pid, &cluster) == Life::Postmaster {
                        sleep(POLL).await;
                    }
                }
            }
        };
        // More than once: where this process was started with interrupts ignored (as shells do in the background), a
        // postmaster ignores them too until it is so far as to listen to them, and the first may come before that.
        let asking = async {
            loop {
                match kill(Pid::from_raw(pid), Signal::SIGINT) {
                    Ok(()) | Err(Errno::ESRCH) => sleep(ASK_AGAIN).await,
                    Err(why) => return Error::Signal { pid, why },
                }
            }
        };
        let gone = tokio::time::timeout(STOP_BOUND, async {
            tokio::select! {
                () = gone => Ok(()),
                why = asking => Err(why),
            }
        });
        match gone.await {
            Ok(asked) => asked?,
            Err(_) => return Err(Error::NotStopped { pid }),
        }
        // PostgreSQL took its socket with it. The empty directory is made again when needed, and
        // would otherwise stay in a directory for everybody.
        if let Err(why) = fs::remove_dir(&self.cluster.sockets) {
            tracing::debug!("left {}: {why}", self.cluster.sockets.display());
        }
        tracing::info!("stopped PostgreSQL (process {pid})");
        Ok(())
    }
}
