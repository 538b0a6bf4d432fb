package passbridge.passport;

import java.security.GeneralSecurityException;
import java.security.PublicKey;
import java.time.Duration;
import java.time.Instant;

/**
 * Decides whether cookie and signature prove who is calling. Knows nothing of Keycloak, so that it is tested alone.
 *
 * <p>Order: what the client forgot, then the cookie (cheap, and the signature's key is only known from it), then the
 * signature, the dearest step, last.
 *
 * @param issuer the Passport that is trusted
 * @param skew by how much the clocks of Passport and realm may differ
 */
record PassportCheck(PublicKey issuer, Duration skew) {

    PassportToken check(String certificate, String algorithm, String signature, Instant now) throws RefusedException {
        require(certificate, Refusal.CERTIFICATE_MISSING);
        require(algorithm, Refusal.ALGORITHM_MISSING);
        require(signature, Refusal.SIGNATURE_MISSING);
        SigningAlgorithm announced = SigningAlgorithm.named(algorithm);
        try {
            PassportToken passport = PassportToken.parse(certificate);
            checkPassport(passport, now);
            DetachedSignature detached = DetachedSignature.parse(signature, certificate);
            detached.requireAlgorithm(announced);
            detached.requireKey(passport.keyDigest());
            detached.requireValid();
            return passport;
        } catch (GeneralSecurityException e) {
            throw new IllegalStateException("the JVM lacks Ed25519 or SHA-256, or the issuer's key is of another kind", e);
        }
    }

    private void checkPassport(PassportToken passport, Instant now) throws RefusedException, GeneralSecurityException {
        if (!passport.isIssuedBy(issuer)) {
            throw new RefusedException(Refusal.CERTIFICATE_NOT_GENUINE);
        }
        if (now.plus(skew).isBefore(passport.issuedAt())) {
            throw new RefusedException(Refusal.CERTIFICATE_NOT_YET_VALID);
        }
        if (!now.isBefore(passport.expiresAt().plus(skew))) {
            throw new RefusedException(Refusal.CERTIFICATE_EXPIRED);
        }
    }

    private static void require(String value, Refusal otherwise) throws RefusedException {
        if (value == null || value.isEmpty()) {
            throw new RefusedException(otherwise);
        }
    }
}
