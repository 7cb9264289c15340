//! Sending a message from one of the operator's wallets: the runtime that hosts the wallet sends it,
//! because it manages the wallet's nonces; if none does, this process signs and posts it.

use std::path::PathBuf;

use agentry_chain::{NodeError, SubmitError};
use agentry_core::OutboxId;
use agentry_core::nonce::NoncePolicy;
use agentry_protocol::{
    Address, BlockHeight, DecryptionKey, EncryptionKey, MessageId, Nonce, PublicKey, SigningKey,
    Timestamp, Trail, TransactionHash,
};
use agentry_store::{StoreError, open_if_exists, read};

use super::super::OperationError;
use super::super::delivery::watch::{ChainWatch, StoreWatch, Watch};
use super::super::delivery::{Carrier, Facts};
use super::super::search::{Follow, UrlError, node};
use super::super::who::Own;
use super::SendRequest;
use crate::config::Config;
use crate::runtime::clock::Clock;
use crate::runtime::compose::{self, Author, Circumstances, ComposeError};
use crate::runtime::control::{Client, ControlError};
use crate::wallet::{PasswordError, PasswordSource, WalletError};

/// The wallet that a message is sent from.
#[derive(Debug)]
pub struct Sender {
    /// Its name, as it was given.
    pub name: String,
    /// The wallet.
    pub own: Own,
    /// A file with its password.
    pub password_file: Option<PathBuf>,
    /// Whether the password may be asked for on the terminal.
    pub prompt: bool,
}

/// A message that was sent or queued.
#[derive(Debug)]
pub struct Dispatched {
    /// Its row in the outbox, if a runtime sends it.
    pub outbox: Option<OutboxId>,
    /// The id in its header.
    pub id: Option<MessageId>,
    /// Finds out what happens to it.
    pub watch: Watch,
}

/// Why a message was not sent.
#[derive(Debug, thiserror::Error)]
pub enum DispatchError {
    /// The running runtime did not send it.
    #[error(transparent)]
    Runtime(ControlError),
    /// It must be sealed, and the recipient's encryption key is not known.
    #[error("{0}")]
    NoRecipientKey(String),
    /// It asks for an acknowledgment, and no runtime hosts the wallet.
    #[error(
        "an acknowledgment needs a running runtime that hosts wallet {0}: it waits for the \
         acknowledgment and sends the message again"
    )]
    NotHosted(String),
    /// The wallet's key is not here.
    #[error(
        "the key of {wallet} is not here: no keystore file or vault of {file} has it, and no \
         running runtime hosts it"
    )]
    NoKey {
        /// The wallet, as it was given.
        wallet: String,
        /// The configuration.
        file: String,
    },
    /// The password is not given.
    #[error(transparent)]
    Password(#[from] PasswordError),
    /// The wallet cannot be unlocked.
    #[error(transparent)]
    Wallet(#[from] WalletError),
    /// The message cannot be composed.
    #[error(transparent)]
    Compose(ComposeError),
    /// The node's URL is not valid.
    #[error(transparent)]
    Url(#[from] UrlError),
    /// The node cannot be queried.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// The node did not take it.
    #[error(transparent)]
    Submit(SubmitError),
    /// Whether the node took it is unknown.
    #[error("{source}; the transaction is {hash}: look it up before you send again")]
    Unknown {
        /// What happened.
        source: SubmitError,
        /// The transaction.
        hash: TransactionHash,
    },
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<ComposeError> for DispatchError {
    fn from(error: ComposeError) -> Self {
        match error {
            ComposeError::NoRecipientKey { .. } => Self::NoRecipientKey(error.to_string()),
            error => Self::Compose(error),
        }
    }
}

/// Sends a message. When this returns `Ok`, a runtime has stored it, or a node has accepted it.
///
/// # Errors
/// [`DispatchError`].
pub async fn dispatch(
    sender: Sender,
    request: SendRequest,
    config: &Config,
) -> Result<Dispatched, DispatchError> {
    let Some(from) = &sender.own.address else {
        return directly(sender, &request, config).await;
    };
    let runtime = Client::new(&config.store.path);
    match runtime.send(from.as_str(), request.clone()).await {
        Ok(sent) => {
            let plain = sent.id.is_none();
            let watch = StoreWatch::new(&config.store.path, sent.outbox, plain)?;
            Ok(Dispatched {
                outbox: Some(sent.outbox),
                id: sent.id,
                watch: Watch::Store(Box::new(watch)),
            })
        }
        Err(
            ControlError::NotRunning { .. } | ControlError::Refused(OperationError::NotHosted(_)),
        ) => directly(sender, &request, config).await,
        Err(ControlError::Refused(OperationError::NoRecipientKey(reason))) => {
            Err(DispatchError::NoRecipientKey(reason))
        }
        Err(error) => Err(DispatchError::Runtime(error)),
    }
}

/// Signs and posts it from this process.
async fn directly(
    sender: Sender,
    request: &SendRequest,
    config: &Config,
) -> Result<Dispatched, DispatchError> {
    let Sender { name, own, .. } = sender;
    if request.ack.is_some() {
        return Err(DispatchError::NotHosted(name));
    }
    let own = own.wallet.ok_or_else(|| DispatchError::NoKey {
        wallet: name,
        file: config.file.clone(),
    })?;
    own.wallet.info().check_key_type(config.chain.dialect)?;
    let reader = node(&config.chain.rpc, &config.chain)?;
    let head = reader.head().await?;
    let height = head.map_or(BlockHeight(0), |head| head.height);
    let password = PasswordSource {
        flag: sender.password_file,
        configured: own.password_file,
        keystore_dir: own.keystore_dir,
        prompt: sender.prompt,
    }
    .password_of(&own.wallet)?;
    let unlocked = own.wallet.unlock(&password)?;
    let key = SigningKey::from_seed(&unlocked.seed);
    let now = Clock::default().now();
    let (from, to, chain) = (unlocked.address, &request.to, config.chain.chain());
    let known = known_keys(to, now, config)?;
    let draft = compose::compose(
        &request.outgoing(),
        Author {
            address: &from,
            public_key: key.public_key(),
            fee: config.defaults.fee,
            behaviour: None,
        },
        Circumstances {
            origin: "",
            to,
            answers: None,
            trail: Trail::NONE,
            recipient_key: request.recipient_key.or(known.encryption),
            chain: &chain,
            now,
            plain: true,
        },
    )?;
    let submit = node(&config.chain.submit, &config.chain)?;
    let nonce = match config.chain.nonce {
        NoncePolicy::Timestamp => Nonce::at(now),
        NoncePolicy::Sequential => submit.account(&from).await?.nonce,
    };
    let id = draft.message_id;
    let transaction = draft.transaction(from.clone(), chain.clone(), nonce);
    let signed = transaction.sign(&key);
    let hash = signed.hash();
    match submit.submit(&signed.body()).await {
        Ok(_) => {}
        Err(source @ SubmitError::Unknown { .. }) => {
            return Err(DispatchError::Unknown { source, hash });
        }
        Err(error) => return Err(DispatchError::Submit(error)),
    }
    let carrier = Carrier {
        hash: Some(hash),
        accepted: true,
        ..Carrier::default()
    };
    Ok(Dispatched {
        outbox: None,
        watch: Watch::Chain(Box::new(ChainWatch {
            follow: Follow::new(reader, height),
            was_told: false,
            chain: config.chain.id.clone(),
            hash,
            plain: id.is_none(),
            from: from.clone(),
            to: to.clone(),
            key: known.public,
            decryption: DecryptionKey::from_seed(&unlocked.seed),
            facts: Facts {
                from: Some(from),
                carriers: vec![carrier],
                ..Facts::default()
            },
        })),
        id,
    })
}

/// What is known of an address: from the contacts, else from its card in the store, if there is a
/// store.
#[derive(Default)]
struct KnownKeys {
    public: Option<PublicKey>,
    encryption: Option<EncryptionKey>,
}

fn known_keys(to: &Address, now: Timestamp, config: &Config) -> Result<KnownKeys, StoreError> {
    let mut known = KnownKeys::default();
    if let Some(db) = open_if_exists(&config.store.path)?
        && let Some(found) = read::card(&db, to)?
    {
        known.public = Some(found.card.public_key);
        let counts = found.card.card.check_time(now).is_ok();
        known.encryption = found.card.card.enc_key.filter(|_| counts);
    }
    let is_contact =
        |contact: &&crate::config::Contact| to.is_of(&contact.address, contact.public_key.as_ref());
    if let Some(contact) = config.contacts.iter().find(is_contact) {
        known.public = contact.public_key.or(known.public);
        known.encryption = contact.enc_key.or(known.encryption);
    }
    Ok(known)
}
