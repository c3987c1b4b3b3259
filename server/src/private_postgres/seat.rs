//! Where the cluster is, and who runs it.

use super::data_directory::set_mode;
use super::error::{Error, file};
use super::programs::leading_number;
use super::{LONGEST_SOCKET, PORT};
use nix::unistd::{Uid, User};
use std::fs::{self, DirBuilder};
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

/// A user other than ourselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Account {
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) name: String,
}

impl Account {
    pub(super) fn named(name: &str) -> Result<Option<Self>, Error> {
        let user = User::from_name(name).map_err(|why| Error::Users { user: name.to_owned(), why })?;
        Ok(user.map(Self::from))
    }

    fn numbered(uid: u32, gid: u32) -> Result<Self, Error> {
        let user = User::from_uid(Uid::from_raw(uid)).map_err(|why| Error::Users { user: uid.to_string(), why })?;
        // A directory may belong to a number that no name goes with; it serves as well.
        Ok(user.map_or_else(|| Self { uid, gid, name: uid.to_string() }, Self::from))
    }

    /// Who runs PostgreSQL where we are root and it refuses to be.
    pub(super) fn for_root() -> Result<Self, Error> {
        for name in ["postgres", "nobody"] {
            if let Some(account) = Self::named(name)?.filter(|account| account.uid != 0) {
                return Ok(account);
            }
        }
        Err(Error::NoUser)
    }
}

impl From<User> for Account {
    fn from(user: User) -> Self {
        Self { uid: user.uid.as_raw(), gid: user.gid.as_raw(), name: user.name }
    }
}

/// Where the cluster is and who runs it.
#[derive(Debug)]
pub(super) struct Seat {
    pub(super) cluster: PathBuf,
    /// `None` where we run it ourselves.
    pub(super) account: Option<Account>,
}

impl Seat {
    pub(super) fn find(data_dir: &Path, elsewhere: &Path) -> Result<Self, Error> {
        let entry = data_dir.join("postgres");
        // The entry is a link where the cluster had to go elsewhere: the data directory then still
        // says where its data is, and removing the data directory still forgets them.
        let link = match fs::read_link(&entry) {
            Ok(target) => Some(data_dir.join(target)),
            Err(why) if matches!(why.kind(), ErrorKind::NotFound | ErrorKind::InvalidInput) => None,
            Err(why) => return Err(file("read the link", &entry)(why)),
        };
        let cluster = link.clone().unwrap_or_else(|| entry.clone());
        let owner = match fs::metadata(&cluster) {
            Ok(found) => Some((found.uid(), found.gid())),
            Err(why) if why.kind() == ErrorKind::NotFound => None,
            Err(why) => return Err(file("look at the database cluster", &cluster)(why)),
        };
        let euid = Uid::effective();
        if !euid.is_root() {
            return match owner {
                Some((uid, gid)) if uid != euid.as_raw() => {
                    Err(Error::NotOurs { cluster, owner: Account::numbered(uid, gid)?.name })
                }
                _ => Ok(Self { cluster, account: None }),
            };
        }
        let account = match owner {
            Some((uid, gid)) if uid != 0 => Account::numbered(uid, gid)?,
            _ => Account::for_root()?,
        };
        let parent = parent(&cluster);
        let Some(blocked) = first_blocked(parent, &account)? else {
            return Ok(Self { cluster, account: Some(account) });
        };
        let blocked = |elsewhere: Option<String>| Error::NotTraversable {
            blocked: blocked.clone(),
            cluster: cluster.clone(),
            user: account.name.clone(),
            elsewhere,
        };
        // Going elsewhere with data already here would be a server that has lost them.
        if owner.is_some() || link.is_some() {
            return Err(blocked(None));
        }
        let home = home_elsewhere(elsewhere, &entry, &account).map_err(|why| blocked(Some(why.to_string())))?;
        tracing::info!(
            cluster = %home.display(),
            "the user {} cannot enter the data directory {}, so the database cluster goes to {}, with a link to it in the data directory",
            account.name,
            data_dir.display(),
            home.display()
        );
        Ok(Self { cluster: home, account: Some(account) })
    }

    /// The major version that made the cluster, or `None` where there is none yet.
    pub(super) fn major(&self) -> Result<Option<u32>, Error> {
        let path = self.cluster.join("PG_VERSION");
        match fs::read_to_string(&path) {
            // Before 10 a major version had two parts; its first is enough to find no such program.
            Ok(version) => match leading_number(version.trim()) {
                Some(major) => Ok(Some(major)),
                None => Err(Error::NotACluster { path: self.cluster.clone() }),
            },
            Err(why) if why.kind() == ErrorKind::NotFound => match fs::read_dir(&self.cluster) {
                Ok(entries) => match entries.count() {
                    0 => Ok(None),
                    _ => Err(Error::NotACluster { path: self.cluster.clone() }),
                },
                Err(why) if why.kind() == ErrorKind::NotFound => Ok(None),
                Err(why) => Err(file("read the directory", &self.cluster)(why)),
            },
            Err(why) => Err(file("read", &path)(why)),
        }
    }

    /// The directory for the socket: beside the cluster, unless its path is more than a socket's
    /// address holds or cannot be written into a setting and a URL.
    pub(super) fn sockets(&self) -> Result<PathBuf, Error> {
        let runtime =
            std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|directory| self.may_use(directory));
        let beside = beside(&self.cluster, ".socket");
        if fits(&beside) {
            return Ok(beside);
        }
        let name = format!("millstream-{}", hash_of(&self.cluster));
        let short = runtime
            .map(|directory| directory.join(&name))
            .filter(|path| fits(path))
            .unwrap_or_else(|| Path::new("/tmp").join(&name));
        tracing::info!(
            "the path {} is too long for a socket, so the socket goes to {}",
            beside.display(),
            short.display()
        );
        Ok(short)
    }

    /// Whether a runtime directory is one of the user who runs PostgreSQL: after `su` or `sudo`
    /// the variable still names the directory of somebody else.
    fn may_use(&self, runtime: &Path) -> bool {
        let uid = self.account.as_ref().map_or_else(|| Uid::effective().as_raw(), |account| account.uid);
        runtime.is_absolute() && fs::metadata(runtime).is_ok_and(|found| found.is_dir() && found.uid() == uid)
    }

    /// Gives `path` to the user who runs PostgreSQL, where that is another one.
    pub(super) fn give(&self, path: &Path) -> Result<(), Error> {
        match &self.account {
            Some(account) => std::os::unix::fs::lchown(path, Some(account.uid), Some(account.gid))
                .map_err(file("hand to PostgreSQL's user", path)),
            None => Ok(()),
        }
    }

    /// Gives everything under `path`, for a cluster that root copied or restored.
    pub(super) fn give_all(&self, path: &Path) -> Result<(), Error> {
        self.give(path)?;
        if fs::symlink_metadata(path).is_ok_and(|found| found.is_dir()) {
            for entry in fs::read_dir(path).map_err(file("read the directory", path))? {
                self.give_all(&entry.map_err(file("read the directory", path))?.path())?;
            }
        }
        Ok(())
    }
}

/// The parent of a path that has one, as all of ours do.
pub(super) fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("/"))
}

/// The path of a sibling, named like `path` with `suffix` after it.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// A stable name for a path: FNV-1a, since the standard library's hash may change with Rust.
pub(super) fn hash_of(path: &Path) -> String {
    let hash = path
        .as_os_str()
        .as_bytes()
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    format!("{hash:016x}")
}

/// Whether a socket in `directory` has an address and the directory's name survives the line of
/// `postmaster.pid` and the URL it is written into.
pub(super) fn fits(directory: &Path) -> bool {
    let socket = format!("/.s.PGSQL.{PORT}");
    directory.as_os_str().len() + socket.len() <= LONGEST_SOCKET
        && directory.to_str().is_some_and(|path| !path.chars().any(char::is_control))
}

/// The first directory on the way to `directory`, itself included, that `account` may not enter.
fn first_blocked(directory: &Path, account: &Account) -> Result<Option<PathBuf>, Error> {
    let mut way: Vec<&Path> = directory.ancestors().collect();
    way.reverse();
    for step in way {
        let found = match fs::metadata(step) {
            Ok(found) => found,
            // What is not there yet is made later, by us and enterable.
            Err(why) if why.kind() == ErrorKind::NotFound => return Ok(None),
            Err(why) => return Err(file("look at", step)(why)),
        };
        if !may_enter(found.mode(), found.uid(), found.gid(), account) {
            return Ok(Some(step.to_owned()));
        }
    }
    Ok(None)
}

/// The kernel's rule for entering a directory, for a user without further groups: PostgreSQL is
/// started without any.
pub(super) fn may_enter(mode: u32, owner: u32, group: u32, account: &Account) -> bool {
    let bit = if owner == account.uid {
        0o100
    } else if group == account.gid {
        0o010
    } else {
        0o001
    };
    mode & bit != 0
}

/// Finds a place under `elsewhere` for the cluster that `entry` should have been, and makes `entry`
/// a link to it. The link comes first: a kill in between leaves a link to a cluster not made yet.
fn home_elsewhere(elsewhere: &Path, entry: &Path, account: &Account) -> Result<PathBuf, Error> {
    if !elsewhere.is_dir() {
        DirBuilder::new()
            .recursive(true)
            .mode(0o711)
            .create(elsewhere)
            .map_err(file("create the directory", elsewhere))?;
        // The umask of root may be one that locks everybody else out.
        set_mode(elsewhere, 0o711)?;
    }
    if let Some(blocked) = first_blocked(elsewhere, account)? {
        return Err(Error::NotTraversable {
            blocked,
            cluster: elsewhere.to_owned(),
            user: account.name.clone(),
            elsewhere: None,
        });
    }
    let name = hash_of(entry);
    // A home without a link to it was that of a data directory since removed. Its data were meant
    // to be gone, so they are not brought back; nor are they ours to delete.
    let home = (1_u32..)
        .map(|turn| elsewhere.join(format!("{name}-{turn}")))
        .find(|home| !home.exists())
        .unwrap_or_else(|| elsewhere.join(name));
    std::os::unix::fs::symlink(&home, entry).map_err(file("create the link", entry))?;
    Ok(home)
}
