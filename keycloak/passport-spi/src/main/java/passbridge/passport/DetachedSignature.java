package passbridge.passport;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.security.GeneralSecurityException;
import java.security.MessageDigest;
import java.util.Base64;
import java.util.Collection;
import org.bouncycastle.asn1.x509.SubjectPublicKeyInfo;
import org.bouncycastle.cert.X509CertificateHolder;
import org.bouncycastle.cms.CMSException;
import org.bouncycastle.cms.CMSProcessableByteArray;
import org.bouncycastle.cms.CMSSignedData;
import org.bouncycastle.cms.SignerInformation;
import org.bouncycastle.cms.jcajce.JcaSimpleSignerInfoVerifierBuilder;
import org.bouncycastle.jce.provider.BouncyCastleProvider;
import org.bouncycastle.operator.OperatorCreationException;

/**
 * The client's signature over the cookie: CMS SignedData (RFC 5652) without the content, base64, with the signer's
 * certificate inside.
 *
 * <p>The certificate only carries the key. Its chain and dates are not judged, because Passport vouches for the key
 * itself: the cookie holds the key's digest, for as long as the cookie lives.
 */
final class DetachedSignature {
    /** A chain of certificates fits many times; parsing more would only help whoever sends floods. */
    private static final int MOST_CHARACTERS = 64 * 1024;
    /** Handed to each call instead of being registered: the server's own list of providers stays as it is. */
    private static final BouncyCastleProvider BC = new BouncyCastleProvider();

    private final SignerInformation signer;
    private final SubjectPublicKeyInfo key;

    private DetachedSignature(SignerInformation signer, SubjectPublicKeyInfo key) {
        this.signer = signer;
        this.key = key;
    }

    /** Reads {@code text} as a signature over {@code cookie}; nothing is verified yet. */
    static DetachedSignature parse(String text, String cookie) throws RefusedException {
        if (text.length() > MOST_CHARACTERS) {
            throw new RefusedException(Refusal.SIGNATURE_MALFORMED);
        }
        try {
            byte[] encoded = Base64.getDecoder().decode(text);
            byte[] content = cookie.getBytes(StandardCharsets.US_ASCII);
            CMSSignedData cms = new CMSSignedData(new CMSProcessableByteArray(content), encoded);
            Collection<SignerInformation> signers = cms.getSignerInfos().getSigners();
            if (signers.size() != 1) {
                throw new RefusedException(Refusal.SIGNATURE_MALFORMED);
            }
            SignerInformation signer = signers.iterator().next();
            @SuppressWarnings("unchecked") // SignerId is a Selector without its type parameter.
            Collection<X509CertificateHolder> own = cms.getCertificates().getMatches(signer.getSID());
            if (own.isEmpty()) {
                throw new RefusedException(Refusal.SIGNATURE_MALFORMED);
            }
            return new DetachedSignature(signer, own.iterator().next().getSubjectPublicKeyInfo());
        } catch (CMSException | RuntimeException e) {
            // BouncyCastle meets malformed ASN.1 with many unchecked exceptions; all mean the same to a caller.
            throw new RefusedException(Refusal.SIGNATURE_MALFORMED);
        }
    }

    void requireAlgorithm(SigningAlgorithm algorithm) throws RefusedException {
        boolean fits = key.getAlgorithm().getAlgorithm().equals(algorithm.key)
                && signer.getDigestAlgorithmID().getAlgorithm().equals(algorithm.digest)
                && algorithm.signatures.stream().anyMatch(name -> name.getId().equals(signer.getEncryptionAlgOID()));
        if (!fits) {
            throw new RefusedException(Refusal.SIGNATURE_OTHER_ALGORITHM);
        }
    }

    void requireKey(byte[] digest) throws RefusedException, GeneralSecurityException {
        try {
            byte[] own = MessageDigest.getInstance("SHA-256").digest(key.getEncoded());
            if (!MessageDigest.isEqual(own, digest)) {
                throw new RefusedException(Refusal.SIGNATURE_OTHER_KEY);
            }
        } catch (IOException e) {
            throw new RefusedException(Refusal.SIGNATURE_MALFORMED);
        }
    }

    void requireValid() throws RefusedException {
        try {
            var verifier = new JcaSimpleSignerInfoVerifierBuilder().setProvider(BC)
                    .build(BouncyCastleProvider.getPublicKey(key));
            if (!signer.verify(verifier)) {
                throw new RefusedException(Refusal.SIGNATURE_WRONG);
            }
        } catch (IOException e) {
            throw new RefusedException(Refusal.SIGNATURE_MALFORMED);
        } catch (CMSException | OperatorCreationException | RuntimeException e) {
            // A digest that differs arrives as an exception, and so does a number that is out of the key's range.
            throw new RefusedException(Refusal.SIGNATURE_WRONG);
        }
    }
}
