//! Commands for a store in PostgreSQL.

use std::sync::Arc;

use brigade_config::Retention;
use brigade_durable::RunStore;

/// Whether a store is in PostgreSQL.
pub(crate) fn is_address(store: &str) -> bool {
    store.starts_with("postgres://") || store.starts_with("postgresql://")
}

#[cfg(feature = "postgres")]
pub(crate) async fn check(address: &str) -> anyhow::Result<()> {
    let database = connect(address)?;
    let name = database.address();
    let report = anyhow::Context::with_context(database.check().await, || format!("{name} is not in order"))?;
    crate::out!("{name} is in order");
    crate::out!("schema {} (this program: {}), PostgreSQL {}", report.schema, report.newest_schema, report.server);
    for (table, rows) in report.rows {
        crate::out!("{rows:>12} {table} (estimated)");
    }
    Ok(())
}

#[cfg(feature = "postgres")]
pub(crate) async fn migrate(address: &str) -> anyhow::Result<()> {
    let database = connect(address)?;
    let name = database.address();
    let applied = anyhow::Context::with_context(database.migrate().await, || format!("cannot migrate {name}"))?;
    match applied.as_slice() {
        [] => crate::note!("{name} has the schema of this program already"),
        applied => crate::note!(
            "{name} has the schema of this program now; applied {}",
            crate::count(applied.len(), "migration")
        ),
    }
    Ok(())
}

#[cfg(feature = "postgres")]
pub(crate) async fn prune(address: &str, retention: &Retention) -> anyhow::Result<()> {
    use brigade_store::{MemorySettings, PostgresMemory, PostgresRecall, PostgresRunStore, RecallSettings};

    let database = connect(address)?;
    database.check().await?;
    PostgresRunStore::new(database.clone()).sweep(retention.runs, retention.answers).await?;
    let sessions = MemorySettings::default().keep_for(retention.sessions);
    PostgresMemory::with_settings(database.clone(), sessions).sweep().await?;
    let notes = RecallSettings::default().keep_for(retention.notes);
    PostgresRecall::with_settings(database.clone(), notes).sweep().await?;
    crate::note!("deleted what {} keeps no longer", database.address());
    Ok(())
}

/// The durable runs of the store. Servers may use it.
#[cfg(feature = "postgres")]
pub(crate) async fn runs(address: &str) -> anyhow::Result<Arc<dyn RunStore>> {
    let database = connect(address)?;
    database.check().await?;
    Ok(Arc::new(brigade_store::PostgresRunStore::new(database)))
}

#[cfg(feature = "postgres")]
fn connect(address: &str) -> anyhow::Result<brigade_store::PostgresDatabase> {
    let settings = brigade_store::PostgresSettings::default().connections(2);
    Ok(brigade_store::PostgresDatabase::connect(address, settings)?)
}

/// What every command does in a program without PostgreSQL.
#[cfg(not(feature = "postgres"))]
fn refuse<T>() -> anyhow::Result<T> {
    Err(brigade_store::StoreError::WithoutPostgres.into())
}

#[cfg(not(feature = "postgres"))]
pub(crate) async fn check(_: &str) -> anyhow::Result<()> {
    refuse()
}

#[cfg(not(feature = "postgres"))]
pub(crate) async fn migrate(_: &str) -> anyhow::Result<()> {
    refuse()
}

#[cfg(not(feature = "postgres"))]
pub(crate) async fn prune(_: &str, _: &Retention) -> anyhow::Result<()> {
    refuse()
}

#[cfg(not(feature = "postgres"))]
pub(crate) async fn runs(_: &str) -> anyhow::Result<Arc<dyn RunStore>> {
    refuse()
}
