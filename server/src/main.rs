//! Starts the server that the environment describes, and stops it in order when told to.

use server::configuration::{Demo, LogFormat};
use server::telemetry::Traces;
use server::{Configuration, demo, sentence, start};
use std::error::Error;
use std::pin::pin;
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

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

/// Begins the log, on stderr, and the traces where there is somebody to send them to.
fn log(format: LogFormat, traces: Option<&Traces>) -> Result<(), Box<dyn Error>> {
    let mut filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(QUIET));
    if traces.is_some() {
        for spans in Traces::SPANS {
            filter = filter.add_directive(spans.parse()?);
        }
    }
    let log = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let log = match format {
        LogFormat::Text => log.boxed(),
        LogFormat::Json => log.json().flatten_event(true).with_span_list(false).boxed(),
    };
    tracing_subscriber::registry().with(filter).with(log).with(traces.map(Traces::layer)).init();
    Ok(())
}

async fn run() -> Result<(), Box<dyn Error>> {
    let configuration = Configuration::from_env()?;
    let traces = configuration.collector.as_ref().map(Traces::begin).transpose()?;
    log(configuration.log_format, traces.as_ref())?;
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
    let stopped = running.stop().await;
    if let Some(traces) = traces {
        traces.end().await;
    }
    Ok(stopped?)
}
