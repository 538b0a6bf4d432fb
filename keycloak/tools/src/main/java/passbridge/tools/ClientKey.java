package passbridge.tools;

import java.io.IOException;
import java.math.BigInteger;
import java.nio.charset.StandardCharsets;
import java.security.GeneralSecurityException;
import java.security.KeyPair;
import java.security.PublicKey;
import java.time.Instant;
import java.util.Base64;
import java.util.Date;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.bouncycastle.asn1.ASN1ObjectIdentifier;
import org.bouncycastle.asn1.DEROctetString;
import org.bouncycastle.asn1.x500.X500Name;
import org.bouncycastle.cert.X509CertificateHolder;
import org.bouncycastle.cert.jcajce.JcaX509v3CertificateBuilder;
import org.bouncycastle.cms.CMSException;
import org.bouncycastle.cms.CMSProcessableByteArray;
import org.bouncycastle.cms.CMSSignedDataGenerator;
import org.bouncycastle.cms.jcajce.JcaSignerInfoGeneratorBuilder;
import org.bouncycastle.operator.ContentSigner;
import org.bouncycastle.operator.OperatorCreationException;
import org.bouncycastle.operator.jcajce.JcaContentSignerBuilder;
import org.bouncycastle.operator.jcajce.JcaDigestCalculatorProviderBuilder;
import org.bouncycastle.util.CollectionStore;

/**
 * What a legacy client holds on its token or disk: a signing key, its certificate, and the certificate of the authority
 * that certified it. Made anew in each process; only a passport gives a key its meaning.
 */
public final class ClientKey {
    /** Netscape comment: a well-known extension that may hold any text, here what makes a signature as long as wanted. */
    private static final ASN1ObjectIdentifier COMMENT = new ASN1ObjectIdentifier("2.16.840.1.113730.1.13");
    private static final X500Name AUTHORITY = new X500Name("CN=Test signing authority,O=Nobody's test world,C=RU");
    private static final X500Name HOLDER = new X500Name("CN=Legacy client,O=Nobody's test world,C=RU");

    private final Algorithm algorithm;
    private final KeyPair authority;
    private final KeyPair holder;
    private final ContentSigner holderSigner;
    private final X509CertificateHolder holderCertificate;
    /** By length of padding: making a certificate costs a signature, and tests ask for the same length again. */
    private final Map<Integer, X509CertificateHolder> authorityCertificates = new HashMap<>();

    public ClientKey(Algorithm algorithm) throws GeneralSecurityException, OperatorCreationException, IOException {
        this.algorithm = algorithm;
        authority = algorithm.newKeyPair();
        holder = algorithm.newKeyPair();
        holderSigner = signer(holder);
        holderCertificate = certificate(2, HOLDER, holder.getPublic(), 0);
    }

    public PublicKey publicKey() {
        return holder.getPublic();
    }

    /**
     * The detached signature over {@code content}: CMS SignedData without the content, with both certificates, base64.
     *
     * @param length wanted characters, a multiple of 4; 0: as it comes
     */
    public String sign(byte[] content, int length) throws GeneralSecurityException, IOException {
        try {
            if (length == 0) {
                return signed(content, 0);
            }
            int padding = 1;
            for (int attempt = 0; attempt < 4; attempt++) {
                String signature = signed(content, padding);
                if (signature.length() == length) {
                    return signature;
                }
                // Lengths in DER grow by a byte here and there, hence more than one attempt.
                padding += (length - signature.length()) / 4 * 3;
                if (padding < 1) {
                    break;
                }
            }
            throw new IllegalArgumentException("no " + algorithm + " signature of " + length
                    + " characters: the length must be a multiple of 4, the shortest is " + signed(content, 1).length());
        } catch (OperatorCreationException | CMSException e) {
            throw new GeneralSecurityException(e);
        }
    }

    private String signed(byte[] content, int padding)
            throws GeneralSecurityException, OperatorCreationException, CMSException, IOException {
        X509CertificateHolder authorityCertificate = authorityCertificates.get(padding);
        if (authorityCertificate == null) {
            authorityCertificate = certificate(1, AUTHORITY, authority.getPublic(), padding);
            authorityCertificates.put(padding, authorityCertificate);
        }
        var digests = new JcaDigestCalculatorProviderBuilder().setProvider(Algorithm.BC).build();
        CMSSignedDataGenerator generator = new CMSSignedDataGenerator();
        generator.addSignerInfoGenerator(
                new JcaSignerInfoGeneratorBuilder(digests).build(holderSigner, holderCertificate));
        generator.addCertificates(new CollectionStore<>(List.of(holderCertificate, authorityCertificate)));
        byte[] encoded = generator.generate(new CMSProcessableByteArray(content), false).getEncoded("DER");
        return Base64.getEncoder().encodeToString(encoded);
    }

    private X509CertificateHolder certificate(int serial, X500Name subject, PublicKey key, int padding)
            throws OperatorCreationException, IOException {
        Instant now = Instant.now();
        var builder = new JcaX509v3CertificateBuilder(
                AUTHORITY, BigInteger.valueOf(serial),
                Date.from(now.minusSeconds(86_400)), Date.from(now.plusSeconds(365 * 86_400L)), subject, key);
        if (padding > 0) {
            builder.addExtension(COMMENT, false, new DEROctetString("x".repeat(padding).getBytes(StandardCharsets.US_ASCII)));
        }
        return builder.build(signer(authority));
    }

    private ContentSigner signer(KeyPair pair) throws OperatorCreationException {
        return new JcaContentSignerBuilder(algorithm.signatureName).setProvider(Algorithm.BC).build(pair.getPrivate());
    }
}
