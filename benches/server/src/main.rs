//! The release server under load, with a PostgreSQL that commits durably, both on this host: `make bench-server`.
//! Each scenario is a file in `scenarios/`; each starts a server of its own, and has a bound on its time.

mod audience;
mod bare;
mod clock;
mod counting;
mod crowd;
mod delivery;
mod frame;
mod lab;
mod notify;
mod peer;
mod processes;
mod report;
mod room;
mod scenarios;
mod sockets;
mod stage;
mod writing;

use report::Report;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::ExitCode;
use std::time::Duration;

pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;
pub(crate) type Outcome<T = ()> = Result<T, Failure>;

/// What a scenario is given.
pub(crate) struct Conditions {
    pub(crate) dist: PathBuf,
    /// How long `chaos` goes on, in seconds.
    pub(crate) seconds: u64,
}

type Running<'a> = Pin<Box<dyn Future<Output = Outcome<Report>> + 'a>>;

struct Scenario {
    name: &'static str,
    what: &'static str,
    /// How long it may take, beside what `--seconds` asks for.
    bound: Duration,
    run: for<'a> fn(&'a Conditions) -> Running<'a>,
}

const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "commits",
        what: "durable commits with and without the change trigger",
        bound: Duration::from_secs(180),
        run: |conditions| Box::pin(scenarios::commits::run(conditions)),
    },
    Scenario {
        name: "latency",
        what: "from a commit to the frames of those who watch",
        bound: Duration::from_secs(180),
        run: |conditions| Box::pin(scenarios::latency::run(conditions)),
    },
    Scenario {
        name: "fanout",
        what: "one event to 10,000 sockets, and what is sustained",
        bound: Duration::from_secs(240),
        run: |conditions| Box::pin(scenarios::fanout::run(conditions)),
    },
    Scenario {
        name: "memory",
        what: "what an idle connection with 20 watched keys costs",
        bound: Duration::from_secs(240),
        run: |conditions| Box::pin(scenarios::memory::run(conditions)),
    },
    Scenario {
        name: "reconnect",
        what: "10,000 clients are cut and come back",
        bound: Duration::from_secs(180),
        run: |conditions| Box::pin(scenarios::reconnect::run(conditions)),
    },
    Scenario {
        name: "storm",
        what: "many read again after one commit",
        bound: Duration::from_secs(120),
        run: |conditions| Box::pin(scenarios::storm::run(conditions)),
    },
    Scenario {
        name: "revocation",
        what: "the end of a membership to the last word about the organization",
        bound: Duration::from_secs(120),
        run: |conditions| Box::pin(scenarios::revocation::run(conditions)),
    },
    Scenario {
        name: "peers",
        what: "beside a bare loop, Node with ws, nginx with nchan, and NOTIFY",
        bound: Duration::from_secs(1_200),
        run: |conditions| Box::pin(scenarios::peers::run(conditions)),
    },
    Scenario {
        name: "feed",
        what: "a step of the feed, by the size of the event table (4 GB of disk)",
        bound: Duration::from_secs(540),
        run: |conditions| Box::pin(scenarios::feed::run(conditions)),
    },
    Scenario {
        name: "chaos",
        what: "servers killed, sockets cut, transactions rolled back: is every commit told?",
        bound: Duration::from_secs(120),
        run: |conditions| Box::pin(scenarios::chaos::run(conditions)),
    },
];

const USAGE: &str = "usage: scripts/bench-server [SCENARIO …] [--seconds N (chaos)] [--out FILE]";

fn main() -> ExitCode {
    match told() {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

fn told() -> Outcome {
    let mut chosen = Vec::new();
    let mut seconds = 75;
    let mut out = PathBuf::from("target/bench-server.json");
    let mut arguments = std::env::args().skip(1).peekable();
    if arguments.next_if_eq(bare::COMMAND).is_some() {
        return bare::serve(&arguments.next().ok_or("bare-loop ADDRESS")?);
    }
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--seconds" => seconds = arguments.next().ok_or(USAGE)?.parse()?,
            "--out" => out = arguments.next().ok_or(USAGE)?.into(),
            name => chosen.push(SCENARIOS.iter().find(|scenario| scenario.name == name).ok_or_else(usage)?),
        }
    }
    if chosen.is_empty() {
        chosen = SCENARIOS.iter().collect();
    }
    let dist = PathBuf::from(std::env::var_os("MILLSTREAM_DIST").unwrap_or_else(|| "dist".into())).canonicalize();
    let conditions = Conditions { dist: dist.map_err(|_| "there is no dist/: run `make release` first")?, seconds };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut failed = Vec::new();
    for scenario in chosen {
        if let Err(why) = runtime.block_on(play(scenario, &conditions, &out)) {
            eprintln!("\n{}: {why}", scenario.name);
            failed.push(scenario.name);
        }
    }
    if failed.is_empty() { Ok(()) } else { Err(format!("could not be measured: {}", failed.join(", ")).into()) }
}

async fn play(scenario: &Scenario, conditions: &Conditions, out: &Path) -> Outcome {
    let bound = scenario.bound + Duration::from_secs(conditions.seconds);
    // Where even the runtime hangs: the end of this process makes the warden stop the rest.
    let (done, waits) = std::sync::mpsc::channel::<()>();
    let name = scenario.name;
    std::thread::spawn(move || {
        if waits.recv_timeout(bound + Duration::from_secs(40)) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
            eprintln!("{name} hangs");
            std::process::exit(1);
        }
    });
    let report = tokio::time::timeout(bound, (scenario.run)(conditions)).await;
    drop(done);
    let report = report.map_err(|_| format!("not done within {bound:?}"))??;
    report.print(&format!("{name}: {}", scenario.what));
    report::keep(out, name, &report, &format!("scripts/bench-server {name}"))
}

fn usage() -> String {
    let names: Vec<&str> = SCENARIOS.iter().map(|scenario| scenario.name).collect();
    format!("{USAGE}\nscenarios: {}", names.join(", "))
}
