//! PostgreSQL's programs: found, chosen and called.

use super::OLDEST_MAJOR;
use super::error::Error;
use super::seat::parent;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use tokio::process::Command;

/// The directory of one PostgreSQL's programs, and its major version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Programs {
    pub(super) directory: PathBuf,
    pub(super) major: u32,
}

const NEEDED: [&str; 4] = ["postgres", "initdb", "pg_isready", "psql"];

impl Programs {
    pub(super) async fn find(bin: Option<&Path>, cluster: &Path, made_by: Option<u32>) -> Result<Self, Error> {
        let found = match bin {
            Some(directory) => {
                vec![Self::at(directory).await.map_err(|(program, why)| Error::WrongBin {
                    directory: directory.to_owned(),
                    program,
                    why,
                })?]
            }
            None => Self::on_this_machine().await,
        };
        choose(found, cluster, made_by)
    }

    /// Those of the search path in its order, then those of the usual places, newest first.
    async fn on_this_machine() -> Vec<Self> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut found: Vec<Self> = Vec::new();
        for directory in std::env::split_paths(&path).filter(|path| path.is_absolute()) {
            // What is on the path may be links into the directory that holds all the programs.
            let real = fs::canonicalize(directory.join("postgres"));
            let Some(real) = real.as_deref().ok().map(parent) else {
                continue;
            };
            for directory in [real, &directory] {
                if let Ok(programs) = Self::at(directory).await
                    && !found.contains(&programs)
                {
                    found.push(programs);
                    break;
                }
            }
        }
        let mut usual: Vec<Self> = Vec::new();
        for directory in usual_places() {
            if let Ok(programs) = Self::at(&directory).await
                && !found.contains(&programs)
            {
                usual.push(programs);
            }
        }
        usual.sort_by_key(|programs| std::cmp::Reverse(programs.major));
        found.extend(usual);
        found
    }

    /// The programs in `directory`, or the first that is missing or does not run there and why.
    pub(super) async fn at(directory: &Path) -> Result<Self, (&'static str, String)> {
        // The programs are run with another working directory.
        let directory = std::path::absolute(directory).map_err(|why| ("postgres", why.to_string()))?;
        for program in NEEDED {
            if !directory.join(program).is_file() {
                return Err((program, "there is no such file".to_owned()));
            }
        }
        let answer = command(&directory.join("postgres"))
            .arg("--version")
            .output()
            .await
            .map_err(|why| ("postgres", why.to_string()))?;
        let said = String::from_utf8_lossy(&answer.stdout).into_owned();
        match major_of(&said) {
            Some(major) => Ok(Self { directory, major }),
            None => Err(("postgres", format!("it says `{}`", said.trim()))),
        }
    }

    pub(super) fn path(&self, program: &str) -> PathBuf {
        self.directory.join(program)
    }
}

/// Chooses the first that is new enough, and where the cluster exists, one of its major version:
/// no other opens it.
pub(super) fn choose(found: Vec<Programs>, cluster: &Path, made_by: Option<u32>) -> Result<Programs, Error> {
    let fit = found.iter().find(|programs| match made_by {
        Some(major) => programs.major == major && major >= OLDEST_MAJOR,
        None => programs.major >= OLDEST_MAJOR,
    });
    match (fit, made_by) {
        (Some(programs), _) => Ok(programs.clone()),
        (None, Some(wanted)) => Err(Error::OtherMajor { cluster: cluster.to_owned(), wanted, found }),
        (None, None) => Err(Error::Missing { found }),
    }
}

/// 17 from `postgres (PostgreSQL) 17.2 (Debian …)`, and from betas such as `18beta1`.
pub(super) fn major_of(version: &str) -> Option<u32> {
    let (_, number) = version.split_once("(PostgreSQL)")?;
    leading_number(number.trim_start())
}

pub(super) fn leading_number(text: &str) -> Option<u32> {
    let end = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    text[..end].parse().ok()
}

/// Where packages put PostgreSQL without putting it on the path.
fn usual_places() -> Vec<PathBuf> {
    [
        ("/usr/lib/postgresql", ""),
        ("/usr", "pgsql-"),
        ("/opt/homebrew/opt", "postgresql"),
        ("/usr/local/opt", "postgresql"),
    ]
    .into_iter()
    .flat_map(|(parent, prefix)| {
        // A place that is not there, or not ours to read, holds nothing for us.
        fs::read_dir(parent)
            .into_iter()
            .flatten()
            .flatten()
            .filter(move |entry| entry.file_name().as_bytes().starts_with(prefix.as_bytes()))
            .map(|entry| entry.path().join("bin"))
    })
    .filter(|bin| bin.is_dir())
    .collect()
}

/// A program run by ourselves, deaf to settings meant for other databases and other languages.
pub(super) fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        if name.as_bytes().starts_with(b"PG") {
            command.env_remove(name);
        }
    }
    command
        .env("LC_ALL", "C")
        // Ours may be a directory that the user who runs PostgreSQL cannot enter.
        .current_dir("/")
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

/// What a program that was run to its end says went wrong, or its output.
pub(super) async fn output(mut command: Command, program: &Path, attempt: &str) -> Result<String, Error> {
    let answer = command.output().await.map_err(|why| Error::Run { program: program.to_owned(), user: None, why })?;
    if answer.status.success() {
        return Ok(String::from_utf8_lossy(&answer.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&answer.stderr);
    Err(Error::Failed {
        attempt: attempt.to_owned(),
        program: program.to_owned(),
        said: if said.trim().is_empty() { answer.status.to_string() } else { said.trim().to_owned() },
    })
}
