package passbridge.passport;

import java.util.Set;
import org.bouncycastle.asn1.ASN1ObjectIdentifier;
import org.bouncycastle.asn1.nist.NISTObjectIdentifiers;
import org.bouncycastle.asn1.pkcs.PKCSObjectIdentifiers;
import org.bouncycastle.asn1.rosstandart.RosstandartObjectIdentifiers;

/**
 * What the field {@code algorithm} may say, and what that allows inside the signature: exactly one kind of key, one
 * digest, and the names under which tools write that pair. SHA-1 or a weaker GOST cannot be slipped in.
 */
enum SigningAlgorithm {
    /** RSASSA-PKCS1-v1_5 with SHA-256. */
    RSA(PKCSObjectIdentifiers.rsaEncryption,
            NISTObjectIdentifiers.id_sha256,
            Set.of(PKCSObjectIdentifiers.rsaEncryption, PKCSObjectIdentifiers.sha256WithRSAEncryption)),
    /** GOST R 34.10-2012 with a 256-bit key, digest GOST R 34.11-2012 256. */
    GOST(RosstandartObjectIdentifiers.id_tc26_gost_3410_12_256,
            RosstandartObjectIdentifiers.id_tc26_gost_3411_12_256,
            Set.of(RosstandartObjectIdentifiers.id_tc26_gost_3410_12_256,
                    RosstandartObjectIdentifiers.id_tc26_signwithdigest_gost_3410_12_256));

    final ASN1ObjectIdentifier key;
    final ASN1ObjectIdentifier digest;
    final Set<ASN1ObjectIdentifier> signatures;

    SigningAlgorithm(ASN1ObjectIdentifier key, ASN1ObjectIdentifier digest, Set<ASN1ObjectIdentifier> signatures) {
        this.key = key;
        this.digest = digest;
        this.signatures = signatures;
    }

    static SigningAlgorithm named(String word) throws RefusedException {
        return switch (word) {
            case "RSA" -> RSA;
            case "GOST" -> GOST;
            default -> throw new RefusedException(Refusal.ALGORITHM_UNKNOWN);
        };
    }
}
