//! The data directory, and the claim of one server on it.

use super::POLL;
use super::error::{Error, file};
use nix::unistd::Uid;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// A server being replaced is still stopping its PostgreSQL when its successor starts, and one
/// killed in the middle of a fork leaves the lock to a child until that child's exec.
const LOCK_BOUND: Duration = Duration::from_secs(3);

/// Makes the data directory where it is missing; root's may be entered by the user who runs
/// PostgreSQL, an ordinary user's by nobody else.
pub(super) fn make_data_dir(data_dir: &Path) -> Result<PathBuf, Error> {
    if !data_dir.is_dir() {
        let mode = if Uid::effective().is_root() { 0o711 } else { 0o700 };
        DirBuilder::new()
            .recursive(true)
            .mode(mode)
            .create(data_dir)
            .map_err(file("create the data directory", data_dir))?;
        set_mode(data_dir, mode)?;
    }
    fs::canonicalize(data_dir).map_err(file("find the data directory", data_dir))
}

pub(super) fn set_mode(path: &Path, mode: u32) -> Result<(), Error> {
    fs::set_permissions(path, Permissions::from_mode(mode)).map_err(file("set the permissions of", path))
}

/// The claim of one server on a data directory. The kernel lets go of it with the process, however
/// that ends, and PostgreSQL does not inherit it.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    pub(super) async fn take(data_dir: &Path) -> Result<Self, Error> {
        let path = data_dir.join("millstream.lock");
        let mut held = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(file("open the lock file", &path))?;
        let deadline = Instant::now() + LOCK_BOUND;
        loop {
            match held.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => sleep(POLL).await,
                Err(TryLockError::WouldBlock) => {
                    return Err(Error::InUse { data_dir: data_dir.to_owned(), holder: holder(&mut held) });
                }
                Err(TryLockError::Error(why)) => return Err(file("lock", &path)(why)),
            }
        }
        // Only for the sentence that refuses the next server.
        held.set_len(0)
            .and_then(|()| write!(held, "{}", std::process::id()))
            .map_err(file("write our process id to", &path))?;
        Ok(Self { _file: held })
    }
}

pub(super) fn holder(lock: &mut File) -> Option<String> {
    let mut said = String::new();
    match lock.read_to_string(&mut said) {
        Ok(_) => said.trim().parse::<u32>().ok().map(|pid| pid.to_string()),
        // The refusal stands without the number.
        Err(_) => None,
    }
}
