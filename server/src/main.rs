//! Starts the server that the environment describes, and stops it in order when told to.

use server::configuration::{Demo, LogFormat};
use server::{Configuration, demo, sentence, start};
use std::error::Error;
use std::pin::pin;
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// PostgreSQL's notices tell only what the migrations find done already.
const QUIET: &str = "info,sqlx::postgres::notice=warn";

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("Millstream: {}", sentence(why.as_ref()));
            ExitCode::FAILURE
        }
    }
}

/// Begins the log, on stderr.
fn log(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(QUIET));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().flatten_event(true).with_span_list(false).init(),
    }
}

async fn run() -> Result<(), Box<dyn Error>> {
    let configuration = Configuration::from_env()?;
    log(configuration.log_format);
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut told_to_stop = pin!(async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    });
    let demo = configuration.demo;
    let running = tokio::select! {
        started = start(configuration) => started?,
        // A start may hang on a database that does not answer. A PostgreSQL of ours is picked up by the next one.
        () = &mut told_to_stop => return Err("told to stop before it had started".into()),
    };
    println!("Millstream listens on http://{}", running.addr);
    if demo == Demo::Fill {
        print!("{}", demo::accounts());
    }
    told_to_stop.await;
    running.stop().await?;
    Ok(())
}
