//! Fernet tokens (<https://github.com/fernet/spec/blob/master/Spec.md>).
//!
//! A token is URL-safe base64 of: version 0x80, 8 bytes of time, 16 of initialisation vector,
//! AES-128-CBC ciphertext with PKCS #7 padding, 32 of HMAC-SHA256 over all bytes before it.
//! A key's first half signs, its second half encrypts. The time is not checked: a keystore does not
//! expire.

use aes::Aes128;
use aes::cipher::block_padding::Pkcs7;
use aes::cipher::{BlockModeDecrypt, BlockModeEncrypt, KeyIvInit};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use hmac::{Hmac, Mac as _};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::crypto::DerivedKey;

const VERSION: u8 = 0x80;
/// Version, time and initialisation vector.
const HEAD: usize = 1 + 8 + 16;
const MAC: usize = 32;
const BLOCK: usize = 16;
/// The longest text that is encrypted: a seed in hexadecimal digits.
const MAX_TEXT: usize = 64;

/// A token, split into its parts.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Token {
    /// Everything that the MAC covers.
    signed: Vec<u8>,
    mac: [u8; MAC],
}

/// What is wrong with a token's form, as the end of a sentence about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TokenFault(pub(crate) &'static str);

/// The key is not the one that the token was made with, or the token was altered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WrongKey;

impl Token {
    /// Encrypts a text; one longer than [`MAX_TEXT`] bytes may be refused. The vector must be random.
    pub(crate) fn seal(
        key: &DerivedKey,
        seconds: u64,
        vector: [u8; 16],
        text: &[u8],
    ) -> Result<Self, WrongKey> {
        let (sign, encrypt) = key.split_at(16);
        let mut signed = vec![VERSION];
        signed.extend(seconds.to_be_bytes());
        signed.extend(vector);
        let mut block = Zeroizing::new([0; MAX_TEXT + BLOCK]);
        let cipher =
            cbc::Encryptor::<Aes128>::new_from_slices(encrypt, &vector).map_err(|_| WrongKey)?;
        block
            .get_mut(..text.len())
            .ok_or(WrongKey)?
            .copy_from_slice(text);
        let sealed = cipher
            .encrypt_padded::<Pkcs7>(&mut *block, text.len())
            .map_err(|_| WrongKey)?;
        signed.extend(sealed);
        let mut mac =
            <Hmac<Sha256> as hmac::KeyInit>::new_from_slice(sign).map_err(|_| WrongKey)?;
        mac.update(&signed);
        let mac = mac.finalize().into_bytes().into();
        Ok(Self { signed, mac })
    }

    /// The token's text.
    pub(crate) fn to_text(&self) -> String {
        let bytes: Vec<u8> = self.signed.iter().chain(&self.mac).copied().collect();
        URL_SAFE.encode(bytes)
    }

    /// Splits a token into its parts; nothing is decrypted.
    pub(crate) fn parse(text: &[u8]) -> Result<Self, TokenFault> {
        let mut bytes = URL_SAFE
            .decode(text)
            .map_err(|_| TokenFault("is not url-safe base64"))?;
        if bytes.first() != Some(&VERSION) {
            return Err(TokenFault("is not a fernet token of version 0x80"));
        }
        let ciphertext = bytes.len().checked_sub(HEAD + MAC);
        if ciphertext.is_none_or(|length| length == 0 || length % BLOCK != 0) {
            return Err(TokenFault("is a truncated fernet token"));
        }
        let mac = bytes.split_off(bytes.len() - MAC);
        let mac = mac
            .try_into()
            .map_err(|_| TokenFault("is a truncated fernet token"))?;
        Ok(Self { signed: bytes, mac })
    }

    /// Decrypts it, after checking its MAC (in constant time). Wrong padding with a correct MAC
    /// cannot come from a correct writer and counts as a wrong key too.
    pub(crate) fn open(&self, key: &DerivedKey) -> Result<Zeroizing<Vec<u8>>, WrongKey> {
        let (sign, encrypt) = key.split_at(16);
        let mut mac =
            <Hmac<Sha256> as hmac::KeyInit>::new_from_slice(sign).map_err(|_| WrongKey)?;
        mac.update(&self.signed);
        mac.verify_slice(&self.mac).map_err(|_| WrongKey)?;

        let vector = self.signed.get(HEAD - 16..HEAD).ok_or(WrongKey)?;
        let ciphertext = self.signed.get(HEAD..).ok_or(WrongKey)?;
        let mut plain = Zeroizing::new(ciphertext.to_vec());
        let cipher =
            cbc::Decryptor::<Aes128>::new_from_slices(encrypt, vector).map_err(|_| WrongKey)?;
        let length = cipher
            .decrypt_padded::<Pkcs7>(&mut plain)
            .map_err(|_| WrongKey)?
            .len();
        plain.truncate(length);
        Ok(plain)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // From the specification's verify.json and invalid.json.
    const SECRET: &str = "cw_0x689RpI-jtRR7oE8h_eQsKImvJapLeSbXpwF4e4=";
    const TOKEN: &str = "gAAAAAAdwJ6wAAECAwQFBgcICQoLDA0ODy021cpGVWKZ_eEwCGM4BLLF_5CV9dOPmrhuVUPgJobwOz7JcbmrR64jVmpU4IwqDA==";

    fn secret() -> DerivedKey {
        Zeroizing::new(URL_SAFE.decode(SECRET).unwrap().try_into().unwrap())
    }

    #[test]
    fn the_specification_s_token_opens() {
        let token = Token::parse(TOKEN.as_bytes()).unwrap();
        assert_eq!(*token.open(&secret()).unwrap(), b"hello");
        assert_eq!(token.open(&Zeroizing::new([0; 32])).unwrap_err(), WrongKey);
    }

    #[test]
    fn the_specification_s_token_is_made() {
        let vector = std::array::from_fn(|index| u8::try_from(index).unwrap());
        let token = Token::seal(&secret(), 499_162_800, vector, b"hello").unwrap();
        assert_eq!(token.to_text(), TOKEN);
        assert!(Token::seal(&secret(), 0, vector, &[0; 64]).is_ok());
        assert!(Token::seal(&secret(), 0, vector, &[0; 80]).is_err());
    }

    #[test]
    fn any_altered_byte_is_found() {
        let bytes = URL_SAFE.decode(TOKEN).unwrap();
        for index in 0..bytes.len() {
            for bit in 0..8 {
                let mut altered = bytes.clone();
                altered[index] ^= 1 << bit;
                let text = URL_SAFE.encode(&altered);
                match Token::parse(text.as_bytes()) {
                    Ok(token) => assert!(token.open(&secret()).is_err(), "byte {index}"),
                    Err(_) => assert_eq!(index, 0, "only the version is checked before the mac"),
                }
            }
        }
    }

    #[test]
    fn any_length_is_read_without_panic() {
        let bytes = URL_SAFE.decode(TOKEN).unwrap();
        for length in 0..bytes.len() {
            let cut = URL_SAFE.encode(&bytes[..length]);
            if let Ok(token) = Token::parse(cut.as_bytes()) {
                assert!(token.open(&secret()).is_err(), "cut to {length}");
            }
        }
        assert!(Token::parse(b"%").is_err());
    }
}
