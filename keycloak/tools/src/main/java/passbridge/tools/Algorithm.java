package passbridge.tools;

import java.security.GeneralSecurityException;
import java.security.KeyPair;
import java.security.KeyPairGenerator;
import java.security.spec.AlgorithmParameterSpec;
import java.security.spec.ECGenParameterSpec;
import java.security.spec.RSAKeyGenParameterSpec;
import org.bouncycastle.jce.provider.BouncyCastleProvider;

/** The two words that a legacy client may send as {@code algorithm}. */
public enum Algorithm {
    RSA("RSA", new RSAKeyGenParameterSpec(2048, RSAKeyGenParameterSpec.F4), "SHA256withRSA"),
    GOST("ECGOST3410-2012", new ECGenParameterSpec("Tc26-Gost-3410-12-256-paramSetA"), "GOST3411-2012-256WITHECGOST3410-2012-256");

    static final BouncyCastleProvider BC = new BouncyCastleProvider();

    private final String keyAlgorithm;
    private final transient AlgorithmParameterSpec keyParameters;
    final String signatureName;

    Algorithm(String keyAlgorithm, AlgorithmParameterSpec keyParameters, String signatureName) {
        this.keyAlgorithm = keyAlgorithm;
        this.keyParameters = keyParameters;
        this.signatureName = signatureName;
    }

    KeyPair newKeyPair() throws GeneralSecurityException {
        // RSA keys from the JDK: several times faster to make than BouncyCastle's.
        KeyPairGenerator generator = this == RSA
                ? KeyPairGenerator.getInstance(keyAlgorithm)
                : KeyPairGenerator.getInstance(keyAlgorithm, BC);
        generator.initialize(keyParameters);
        return generator.generateKeyPair();
    }
}
