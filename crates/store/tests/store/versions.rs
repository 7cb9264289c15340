//! The files that can be opened as a store.

use agentry_store::{Store, StoreError, open_for_reading, open_if_exists};

#[test]
fn a_store_is_opened_by_one_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("agentry.db");
    let first = Store::open(&path).unwrap();
    assert!(matches!(Store::open(&path), Err(StoreError::Locked { .. })));
    open_for_reading(&path).unwrap();
    drop(first);
    Store::open(&path).unwrap();
}

#[test]
fn a_store_of_a_newer_version_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("agentry.db");
    drop(Store::open(&path).unwrap());
    let db = rusqlite::Connection::open(&path).unwrap();
    db.pragma_update(None, "user_version", 99).unwrap();
    drop(db);
    let before = std::fs::read(&path).unwrap();
    let error = Store::open(&path).unwrap_err();
    assert!(
        matches!(error, StoreError::Newer { found: 99, .. }),
        "{error}"
    );
    assert!(error.to_string().contains("newer agentry"));
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

#[test]
fn a_store_of_a_version_before_the_first_release_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("agentry.db");
    drop(Store::open(&path).unwrap());
    let db = rusqlite::Connection::open(&path).unwrap();
    db.pragma_update(None, "user_version", 6).unwrap();
    drop(db);
    let before = std::fs::read(&path).unwrap();
    for error in [
        Store::open(&path).unwrap_err(),
        open_for_reading(&path).unwrap_err(),
    ] {
        assert!(
            matches!(error, StoreError::Older { found: 6, .. }),
            "{error}"
        );
        assert!(error.to_string().contains("move the file away"));
    }
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

#[test]
fn another_programs_database_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("theirs.db");
    let db = rusqlite::Connection::open(&path).unwrap();
    db.execute_batch("CREATE TABLE theirs (x)").unwrap();
    drop(db);
    assert!(matches!(
        Store::open(&path),
        Err(StoreError::Foreign { .. })
    ));
}

#[test]
fn a_database_without_tables_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("agentry.db");
    let db = rusqlite::Connection::open(&path).unwrap();
    // Writes the file's header, and no table.
    db.pragma_update(None, "user_version", 1).unwrap();
    drop(db);
    for error in [
        Store::open(&path).unwrap_err(),
        open_for_reading(&path).unwrap_err(),
    ] {
        assert!(
            matches!(&error, StoreError::Broken { found, .. } if found.contains("no tables")),
            "{error}"
        );
    }
}

#[test]
fn a_file_that_is_not_a_database_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("agentry.db");
    std::fs::write(
        &path,
        "this is not a database, and it is long enough to be looked at",
    )
    .unwrap();
    let error = Store::open(&path).unwrap_err();
    assert!(error.to_string().contains("agentry.db"), "{error}");
}

#[test]
fn reading_a_missing_store_creates_none() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("agentry.db");
    assert!(matches!(
        open_for_reading(&path),
        Err(StoreError::Missing { .. })
    ));
    assert!(open_if_exists(&path).unwrap().is_none());
    assert!(!path.exists());
}

#[test]
fn a_store_is_accessible_to_its_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("agentry.db");
    let _store = Store::open(&path).unwrap();
    assert_eq!(
        std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
}

#[tokio::test]
async fn a_closed_store_is_one_file_and_the_checksums_of_its_pages() {
    let (dir, store, _) = super::store(3).await;
    store.read(agentry_store::read::agents).await.unwrap();
    drop(store);
    let mut left: Vec<String> = std::fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    left.sort();
    assert_eq!(left, ["agentry.db", "agentry.db.lock", "agentry.db.sums"]);
}
