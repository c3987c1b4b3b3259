//! The private PostgreSQL with real programs, processes and directories.

use super::cluster::{Life, Note, exists, is_zombie, last_lines, life_of, make_socket_directory, note_in, quoted};
use super::data_directory::set_mode;
use super::programs::{choose, command, major_of, output};
use super::seat::{Account, fits, hash_of, may_enter};
use super::*;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::process::Stdio;
use std::process::{Child as Process, Command as Run};
use tokio::process::Command;
use tokio::time::{Instant, sleep};

fn account(uid: u32, gid: u32) -> Account {
    Account { uid, gid, name: "someone".to_owned() }
}

fn programs(directory: &str, major: u32) -> Programs {
    Programs { directory: PathBuf::from(directory), major }
}

#[test]
fn a_url_survives_any_path() {
    assert_eq!(
        url("app", Path::new("/srv/a b/ü?&=%.socket")),
        "postgres://app@localhost:5432/millstream?host=%2Fsrv%2Fa%20b%2F%C3%BC%3F%26%3D%25.socket"
    );
    assert!(url("a@b", Path::new("/s")).starts_with("postgres://a%40b@localhost:5432/"));
}

#[test]
fn a_version_is_read_from_whatever_packagers_append() {
    for (said, major) in [
        ("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n", Some(15)),
        ("postgres (PostgreSQL) 18beta1", Some(18)),
        ("postgres (PostgreSQL) 9.6.24", Some(9)),
        ("postgres (EnterpriseDB) x", None),
        ("", None),
    ] {
        assert_eq!(major_of(said), major, "{said}");
    }
}

#[test]
fn the_first_that_is_new_enough_is_chosen() {
    let found = || vec![programs("/a", 14), programs("/b", 16), programs("/c", 17)];
    let at = Path::new("/data/postgres");
    assert_eq!(choose(found(), at, None).unwrap(), programs("/b", 16));
    assert_eq!(choose(found(), at, Some(17)).unwrap(), programs("/c", 17));
    let other = choose(found(), at, Some(15)).unwrap_err().to_string();
    assert!(other.contains("made by PostgreSQL 15"), "{other}");
    assert!(other.contains("17 in /c"), "{other}");
    let missing = choose(vec![programs("/a", 14)], at, None).unwrap_err().to_string();
    assert!(missing.contains("there is 14 in /a"), "{missing}");
    let missing = choose(Vec::new(), at, None).unwrap_err().to_string();
    assert!(missing.contains("apt install postgresql"), "{missing}");
    assert!(missing.contains("DATABASE_URL"), "{missing}");
    assert!(!missing.contains('\n'), "{missing}");
}

#[test]
fn a_socket_has_room_or_goes_elsewhere() {
    let room = LONGEST_SOCKET - "/.s.PGSQL.5432".len();
    let path = |length: usize| PathBuf::from(format!("/{}", "x".repeat(length - 1)));
    assert!(fits(&path(room)));
    assert!(!fits(&path(room + 1)));
    assert!(!fits(Path::new("/a\nb")));
    assert!(!fits(Path::new(OsStr::from_bytes(b"/\xff"))));
}

#[test]
fn the_hash_of_a_path_never_changes() {
    assert_eq!(hash_of(Path::new("")), "cbf29ce484222325");
    assert_eq!(hash_of(Path::new("a")), "af63dc4c8601ec8c");
}

#[test]
fn entering_follows_the_first_class_that_applies() {
    let me = account(7, 8);
    assert!(may_enter(0o700, 7, 0, &me));
    assert!(!may_enter(0o077, 7, 8, &me));
    assert!(may_enter(0o010, 0, 8, &me));
    assert!(!may_enter(0o701, 0, 8, &me));
    assert!(may_enter(0o711, 0, 0, &me));
    assert!(!may_enter(0o700, 0, 0, &me));
}

#[test]
fn a_note_is_read_as_far_as_it_is_written() {
    let note = |text: &str| note_in(text.as_bytes());
    assert_eq!(
        note("42\n/data\n1700000000\n5432\n/sock et\n\n  1 2\nready   \n"),
        Some(Note { pid: 42, sockets: Some(PathBuf::from("/sock et")) })
    );
    for early in ["42\n/data\n1700000000\n5432\n\n", "42\n", "42"] {
        assert_eq!(note(early), Some(Note { pid: 42, sockets: None }));
    }
    for none in ["", "-42\n", "0\n", "x\n"] {
        assert_eq!(note(none), None);
    }
}

#[test]
fn a_zombie_is_told_by_its_state_and_not_by_its_name() {
    assert!(is_zombie("7 (postgres) Z 1 7"));
    assert!(!is_zombie("7 (a) Z) S 1 7"));
    assert!(!is_zombie(""));
}

#[test]
fn a_setting_holds_a_directory_with_commas_and_quotes() {
    assert_eq!(quoted(Path::new("/a, \"b\"")), "\"/a, \"\"b\"\"\"");
}

#[test]
fn only_the_end_of_a_log_is_quoted() {
    let log: String = (0..100).map(|line| format!("{line}\n")).collect();
    let end = last_lines(&log);
    assert_eq!(end.lines().count(), LOG_LINES);
    assert!(end.ends_with("99"));
    assert_eq!(last_lines(""), "");
}

// From here on with PostgreSQL itself. As root these run it as another user, which is half of
// what there is to try; the other half needs them run by an ordinary user.

fn is_root() -> bool {
    Uid::effective().is_root()
}

/// A directory that the user who runs PostgreSQL can enter.
fn room() -> tempfile::TempDir {
    let room = tempfile::tempdir().unwrap();
    set_mode(room.path(), 0o755).unwrap();
    room
}

async fn psql(url: &str, sql: &str) -> Result<String, Error> {
    let programs = Programs::find(None, Path::new("/"), None).await?;
    let program = programs.path("psql");
    let mut psql = command(&program);
    psql.args(["-XAtq", "-v", "ON_ERROR_STOP=1", "-c", sql, url]);
    Ok(output(psql, &program, sql).await?.trim().to_owned())
}

/// Asks until there is an answer, as a pool does.
async fn insist(url: &str, sql: &str) -> String {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        match psql(url, sql).await {
            Ok(answer) => return answer,
            Err(why) if Instant::now() > deadline => panic!("{why}"),
            Err(_) => sleep(POLL).await,
        }
    }
}

async fn fill(postgres: &PrivatePostgres) {
    let sql = "create table kept (n int); insert into kept values (7)";
    psql(&postgres.superuser_url(), sql).await.unwrap();
}

async fn assert_kept(postgres: &PrivatePostgres) {
    let kept = insist(&postgres.superuser_url(), "select n from kept").await;
    assert_eq!(kept, "7");
}

fn kill_hard(pid: i32) {
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
}

const SERVED_DIR: &str = "MILLSTREAM_TEST_DATA_DIR";

/// Not a test: the server that others start as a process of its own, to kill it.
#[tokio::test]
#[ignore = "started by other tests"]
async fn serve() {
    let data_dir = std::env::var_os(SERVED_DIR).expect("started by other tests");
    let postgres = PrivatePostgres::start(Path::new(&data_dir)).await.unwrap();
    println!("{}", postgres.pid());
    fs::write(Path::new(&data_dir).join("served"), "").unwrap();
    std::future::pending::<()>().await;
}

fn server(data_dir: &Path) -> Process {
    let (_, here) = module_path!().split_once("::").unwrap();
    Run::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "--nocapture"])
        .arg(format!("{here}::serve"))
        .env(SERVED_DIR, data_dir)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// The process id of the PostgreSQL of a server that was then killed with -9.
async fn of_a_killed_server(data_dir: &Path) -> i32 {
    let served = data_dir.join("served");
    let mut server = server(data_dir);
    while !served.exists() {
        assert_eq!(server.try_wait().unwrap(), None, "the server did not start");
        sleep(POLL).await;
    }
    server.kill().unwrap();
    server.wait().unwrap();
    fs::remove_file(served).unwrap();
    let note = fs::read(data_dir.join("postgres/postmaster.pid")).unwrap();
    note_in(&note).unwrap().pid
}

#[tokio::test]
async fn a_stop_and_a_start_keep_the_data() {
    let room = room();
    let data_dir = room.path().join("deep/er");
    let postgres = PrivatePostgres::start(&data_dir).await.unwrap();
    fill(&postgres).await;
    let (pid, url) = (postgres.pid(), postgres.superuser_url());
    assert_eq!(life_of(pid, &data_dir.join("postgres")), Life::Postmaster);
    postgres.stop().await.unwrap();
    assert!(!exists(pid));
    assert!(!data_dir.join("postgres/postmaster.pid").exists());
    assert!(!data_dir.join("postgres.socket").exists());

    let postgres = PrivatePostgres::start(&data_dir).await.unwrap();
    assert_ne!(postgres.pid(), pid);
    assert_eq!(postgres.superuser_url(), url);
    assert_kept(&postgres).await;
    postgres.stop().await.unwrap();
}

#[tokio::test]
async fn it_listens_where_only_its_user_comes_and_survives_ctrl_c() {
    let room = room();
    let postgres = PrivatePostgres::start(room.path()).await.unwrap();
    let url = postgres.superuser_url();
    for (setting, value) in [
        ("listen_addresses", ""),
        ("unix_socket_permissions", "0700"),
        ("shared_buffers", "128MB"),
        ("max_connections", "100"),
        ("max_prepared_transactions", "0"),
        ("synchronous_commit", "on"),
        ("server_encoding", "UTF8"),
    ] {
        let answer = psql(&url, &format!("show {setting}")).await.unwrap();
        assert_eq!(answer, value, "{setting}");
    }
    let found = fs::metadata(room.path().join("postgres.socket")).unwrap();
    let cluster = fs::metadata(room.path().join("postgres")).unwrap();
    assert_eq!(found.mode() & 0o777, 0o700);
    assert_eq!(found.uid(), cluster.uid());
    assert_ne!(found.uid(), 0);
    let group = nix::unistd::getpgid(Some(Pid::from_raw(postgres.pid()))).unwrap();
    assert_ne!(group, nix::unistd::getpgrp());
    postgres.stop().await.unwrap();
}

#[tokio::test]
async fn a_role_connects_by_its_url() {
    let room = room();
    let postgres = PrivatePostgres::start(room.path()).await.unwrap();
    let url = postgres.superuser_url();
    psql(&url, "create role \"a b@c\" login").await.unwrap();
    let me = psql(&postgres.url("a b@c"), "select current_user, current_database()").await;
    assert_eq!(me.unwrap(), "a b@c|millstream");
    postgres.stop().await.unwrap();
}

#[tokio::test]
async fn the_postgres_of_a_killed_server_is_picked_up() {
    let room = room();
    let pid = of_a_killed_server(room.path()).await;
    assert!(exists(pid));
    let postgres = PrivatePostgres::start(room.path()).await.unwrap();
    assert_eq!(postgres.pid(), pid);
    fill(&postgres).await;
    assert_kept(&postgres).await;

    // And is watched as one of our own is.
    kill_hard(pid);
    assert_kept(&postgres).await;
    assert_ne!(postgres.pid(), pid);
    postgres.stop().await.unwrap();
}

#[tokio::test]
async fn a_picked_up_postgres_is_stopped() {
    let room = room();
    let pid = of_a_killed_server(room.path()).await;
    let postgres = PrivatePostgres::start(room.path()).await.unwrap();
    assert_eq!(postgres.pid(), pid);
    postgres.stop().await.unwrap();
    assert_ne!(life_of(pid, &room.path().join("postgres")), Life::Postmaster);
    assert!(!room.path().join("postgres/postmaster.pid").exists());
}

#[tokio::test]
async fn a_dropped_handle_leaves_postgres_to_the_next() {
    let room = room();
    let postgres = PrivatePostgres::start(room.path()).await.unwrap();
    let pid = postgres.pid();
    drop(postgres);
    let postgres = PrivatePostgres::start(room.path()).await.unwrap();
    assert_eq!(postgres.pid(), pid);
    postgres.stop().await.unwrap();
}

#[tokio::test]
async fn a_server_killed_with_its_postgres_starts_again() {
    let room = room();
    let pid = of_a_killed_server(room.path()).await;
    kill_hard(pid);
    let postgres = PrivatePostgres::start(room.path()).await.unwrap();
    assert_ne!(postgres.pid(), pid);
    insist(&postgres.superuser_url(), "select 1").await;
    postgres.stop().await.unwrap();
}

#[tokio::test]
async fn a_server_killed_at_any_moment_of_its_first_start_leaves_nothing_half_made() {
    let room = room();
    for milliseconds in [0, 30, 100, 200, 300, 500, 700, 900, 1200, 1500] {
        let mut server = server(room.path());
        sleep(Duration::from_millis(milliseconds)).await;
        server.kill().unwrap();
        server.wait().unwrap();
    }
    let postgres = PrivatePostgres::start(room.path()).await.unwrap();
    fill(&postgres).await;
    assert_kept(&postgres).await;
    postgres.stop().await.unwrap();
}

#[tokio::test]
async fn a_second_server_is_refused() {
    let room = room();
    let postgres = PrivatePostgres::start(room.path()).await.unwrap();
    let refusal = PrivatePostgres::start(room.path()).await.unwrap_err();
    assert!(matches!(refusal, Error::InUse { .. }), "{refusal}");
    let refusal = refusal.to_string();
    let process = format!("(process {})", std::process::id());
    assert!(refusal.contains(&process), "{refusal}");
    insist(&postgres.superuser_url(), "select 1").await;
    postgres.stop().await.unwrap();
}

#[tokio::test]
async fn a_successor_waits_for_a_server_that_is_stopping() {
    let room = room();
    let postgres = PrivatePostgres::start(room.path()).await.unwrap();
    let (stopped, next) = tokio::join!(postgres.stop(), PrivatePostgres::start(room.path()));
    stopped.unwrap();
    next.unwrap().stop().await.unwrap();
}

#[tokio::test]
async fn a_killed_postgres_comes_back_as_often_as_it_is_killed() {
    let room = room();
    let postgres = PrivatePostgres::start(room.path()).await.unwrap();
    fill(&postgres).await;
    for _ in 0..3 {
        // A backend at work makes the next postmaster meet the dead one's shared memory.
        let url = postgres.superuser_url();
        let busy = tokio::spawn(async move { psql(&url, "select pg_sleep(600)").await });
        sleep(Duration::from_millis(300)).await;
        let pid = postgres.pid();
        kill_hard(pid);
        assert_kept(&postgres).await;
        assert_ne!(postgres.pid(), pid);
        assert!(busy.await.unwrap().is_err());
    }
    postgres.stop().await.unwrap();
}

#[tokio::test]
async fn a_killed_postgres_comes_back_when_its_last_backend_is_gone() {
    let room = room();
    let postgres = PrivatePostgres::start(room.path()).await.unwrap();
    fill(&postgres).await;
    let url = postgres.superuser_url();
    let busy = tokio::spawn(async move { psql(&url, "select pg_sleep(600)").await });
    let backend = loop {
        let sql = "select pid from pg_stat_activity where wait_event = 'PgSleep'";
        match insist(&postgres.superuser_url(), sql).await.parse() {
            Ok(backend) => break Pid::from_raw(backend),
            Err(_) => sleep(POLL).await,
        }
    };
    // It does not notice that its postmaster died.
    kill(backend, Signal::SIGSTOP).unwrap();
    let mark = fs::metadata(room.path().join("postgres.log")).unwrap().len();
    kill_hard(postgres.pid());
    let refused = async {
        loop {
            let log = fs::read(room.path().join("postgres.log")).unwrap();
            let since = String::from_utf8_lossy(&log[usize::try_from(mark).unwrap()..]);
            if since.contains("pre-existing shared memory block") {
                break;
            }
            sleep(POLL).await;
        }
    };
    let refused = tokio::time::timeout(Duration::from_secs(20), refused).await;
    kill_hard(backend.as_raw());
    refused.unwrap();
    assert_kept(&postgres).await;
    assert!(busy.await.unwrap().is_err());
    postgres.stop().await.unwrap();
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_zombie_is_no_postmaster() {
    let mut zombie = Run::new("true").spawn().unwrap();
    let pid = i32::try_from(zombie.id()).unwrap();
    let dead = async {
        while life_of(pid, Path::new("/nowhere")) != Life::Another {
            sleep(POLL).await;
        }
    };
    let dead = tokio::time::timeout(Duration::from_secs(10), dead).await;
    zombie.wait().unwrap();
    dead.unwrap();
    assert_eq!(life_of(pid, Path::new("/nowhere")), Life::Gone);
}

#[tokio::test]
async fn a_stop_ends_a_postgres_that_is_just_coming_back() {
    let room = room();
    for milliseconds in [0, 50, 110, 150, 200, 400] {
        let postgres = PrivatePostgres::start(room.path()).await.unwrap();
        kill_hard(postgres.pid());
        sleep(Duration::from_millis(milliseconds)).await;
        postgres.stop().await.unwrap();
        sleep(Duration::from_millis(50)).await;
        if let Ok(note) = fs::read(room.path().join("postgres/postmaster.pid")) {
            let pid = note_in(&note).unwrap().pid;
            assert_eq!(life_of(pid, &room.path().join("postgres")), Life::Gone);
        }
    }
}

#[tokio::test]
async fn a_stop_does_not_wait_for_clients() {
    let room = room();
    let postgres = PrivatePostgres::start(room.path()).await.unwrap();
    let url = postgres.superuser_url();
    let busy = tokio::spawn(async move { psql(&url, "select pg_sleep(600)").await });
    sleep(Duration::from_millis(300)).await;
    postgres.stop().await.unwrap();
    assert!(busy.await.unwrap().is_err());
}

#[tokio::test]
async fn a_number_that_went_to_another_process_is_no_postmaster() {
    let room = room();
    let postgres = PrivatePostgres::start(room.path()).await.unwrap();
    fill(&postgres).await;
    postgres.stop().await.unwrap();
    let cluster = room.path().join("postgres");
    let found = fs::metadata(&cluster).unwrap();
    let mut other = Command::new("sleep");
    other.arg("600").current_dir("/").kill_on_drop(true);
    if is_root() {
        other.uid(found.uid()).gid(found.gid());
    }
    let other = other.spawn().unwrap();
    let note = cluster.join("postmaster.pid");
    let text = format!("{}\n{}\n1\n5432\n\n", other.id().unwrap(), cluster.display());
    fs::write(&note, text).unwrap();
    std::os::unix::fs::chown(&note, Some(found.uid()), Some(found.gid())).unwrap();

    let postgres = PrivatePostgres::start(room.path()).await.unwrap();
    assert_kept(&postgres).await;
    postgres.stop().await.unwrap();
    assert!(exists(i32::try_from(other.id().unwrap()).unwrap()));
}

#[tokio::test]
async fn a_deep_data_directory_has_its_socket_elsewhere() {
    let room = room();
    let data_dir = room.path().join("d".repeat(70)).join("e".repeat(70));
    let postgres = PrivatePostgres::start(&data_dir).await.unwrap();
    insist(&postgres.superuser_url(), "select 1").await;
    let sockets = postgres.sockets.clone();
    assert!(!sockets.starts_with(room.path()), "{}", sockets.display());
    assert_eq!(fs::metadata(&sockets).unwrap().mode() & 0o777, 0o700);
    postgres.stop().await.unwrap();
    assert!(!sockets.exists());
}

#[test]
fn a_socket_directory_of_doubtful_origin_is_refused() {
    let room = room();
    let seat = Seat { cluster: room.path().join("postgres"), account: is_root().then(|| Account::for_root().unwrap()) };
    let path = room.path().join("s");
    std::os::unix::fs::symlink(room.path(), &path).unwrap();
    assert!(make_socket_directory(&path, &seat).is_err());
    fs::remove_file(&path).unwrap();
    make_socket_directory(&path, &seat).unwrap();
    make_socket_directory(&path, &seat).unwrap();
    set_mode(&path, 0o755).unwrap_or_else(|why| panic!("{why}"));
    make_socket_directory(&path, &seat).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o700);
    if is_root() {
        std::os::unix::fs::chown(&path, Some(12345), None).unwrap();
        let refusal = make_socket_directory(&path, &seat).unwrap_err().to_string();
        assert!(refusal.contains("another user"), "{refusal}");
    }
}

#[tokio::test]
async fn as_root_a_data_directory_that_is_shut_gets_its_cluster_elsewhere() {
    if !is_root() {
        return;
    }
    let (shut, elsewhere) = (tempfile::tempdir().unwrap(), room());
    set_mode(shut.path(), 0o700).unwrap();
    let start = async |data_dir: &Path| PrivatePostgres::start_in(data_dir, None, &elsewhere.path().join("m")).await;
    let data_dir = shut.path().join("data");
    let postgres = start(&data_dir).await.unwrap();
    fill(&postgres).await;
    postgres.stop().await.unwrap();
    let home = fs::read_link(data_dir.join("postgres")).unwrap();
    assert!(home.starts_with(elsewhere.path()), "{}", home.display());

    // It stays there, whether or not the data directory could be used by now.
    set_mode(shut.path(), 0o755).unwrap();
    let postgres = start(&data_dir).await.unwrap();
    assert_kept(&postgres).await;
    postgres.stop().await.unwrap();

    // A new data directory of the same name is a new one.
    fs::remove_dir_all(&data_dir).unwrap();
    set_mode(shut.path(), 0o700).unwrap();
    let postgres = start(&data_dir).await.unwrap();
    assert_ne!(fs::read_link(data_dir.join("postgres")).unwrap(), home);
    let url = postgres.superuser_url();
    assert!(psql(&url, "select n from kept").await.is_err());
    postgres.stop().await.unwrap();

    // With no elsewhere to go, the sentence says what is shut.
    let shut_too = shut.path().join("other");
    let refusal = PrivatePostgres::start_in(&shut_too, None, Path::new("/proc/m")).await.unwrap_err().to_string();
    let step = shut.path().display().to_string();
    assert!(refusal.contains(&format!("may not enter {step}, ")), "{refusal}");
    assert!(refusal.contains("MILLSTREAM_DATA_DIR"), "{refusal}");
    assert!(!shut_too.join("postgres").exists());
}

#[tokio::test]
async fn as_root_a_cluster_that_was_shut_in_is_not_replaced() {
    if !is_root() {
        return;
    }
    let room = room();
    let postgres = PrivatePostgres::start(room.path()).await.unwrap();
    fill(&postgres).await;
    postgres.stop().await.unwrap();
    set_mode(room.path(), 0o700).unwrap();
    let refusal = PrivatePostgres::start(room.path()).await.unwrap_err();
    assert!(matches!(refusal, Error::NotTraversable { .. }), "{refusal}");
    set_mode(room.path(), 0o755).unwrap();

    // One that root restored from a copy is handed back to PostgreSQL's user.
    let mut copy = Run::new("cp");
    copy.args(["-r", "postgres", "copy"]);
    assert!(copy.current_dir(room.path()).status().unwrap().success());
    fs::remove_dir_all(room.path().join("postgres")).unwrap();
    fs::rename(room.path().join("copy"), room.path().join("postgres")).unwrap();
    set_mode(&room.path().join("postgres"), 0o700).unwrap();
    let postgres = PrivatePostgres::start(room.path()).await.unwrap();
    assert_kept(&postgres).await;
    postgres.stop().await.unwrap();
}

#[tokio::test]
async fn as_root_the_owner_of_the_cluster_runs_it() {
    let Some(nobody) = Account::named("nobody").unwrap().filter(|_| is_root()) else {
        return;
    };
    let room = room();
    let cluster = room.path().join("postgres");
    fs::create_dir(&cluster).unwrap();
    std::os::unix::fs::chown(&cluster, Some(nobody.uid), Some(nobody.gid)).unwrap();
    let postgres = PrivatePostgres::start(room.path()).await.unwrap();
    insist(&postgres.superuser_url(), "select 1").await;
    let runs = fs::metadata(cluster.join("postmaster.pid")).unwrap();
    assert_eq!(runs.uid(), nobody.uid);
    postgres.stop().await.unwrap();
}

#[tokio::test]
async fn what_is_no_cluster_or_anothers_is_left_alone() {
    let room = room();
    let cluster = room.path().join("postgres");
    fs::create_dir(&cluster).unwrap();
    fs::write(cluster.join("letter"), "").unwrap();
    let refusal = PrivatePostgres::start(room.path()).await.unwrap_err();
    assert!(matches!(refusal, Error::NotACluster { .. }), "{refusal}");

    fs::write(cluster.join("PG_VERSION"), "12\n").unwrap();
    let refusal = PrivatePostgres::start(room.path()).await.unwrap_err();
    assert!(matches!(refusal, Error::OtherMajor { .. }), "{refusal}");

    let nowhere = PrivatePostgres::start_with(room.path(), Some(&cluster)).await;
    let refusal = nowhere.unwrap_err().to_string();
    assert!(refusal.starts_with("MILLSTREAM_POSTGRES_BIN is"), "{refusal}");
    assert!(cluster.join("letter").exists());
}

#[tokio::test]
async fn a_refusal_to_start_quotes_the_log() {
    let room = room();
    let postgres = PrivatePostgres::start(room.path()).await.unwrap();
    postgres.stop().await.unwrap();
    let conf = room.path().join("postgres/postgresql.conf");
    let good = fs::read_to_string(&conf).unwrap();
    fs::write(&conf, format!("{good}\nnonsense = 1\n")).unwrap();
    let refusal = PrivatePostgres::start(room.path()).await.unwrap_err();
    assert!(matches!(refusal, Error::DidNotStart { .. }), "{refusal}");
    assert!(refusal.to_string().contains("\"nonsense\""), "{refusal}");
    fs::write(&conf, good).unwrap();
    let postgres = PrivatePostgres::start(room.path()).await.unwrap();
    postgres.stop().await.unwrap();
}
