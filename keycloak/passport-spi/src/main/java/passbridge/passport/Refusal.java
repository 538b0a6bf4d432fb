package passbridge.passport;

/**
 * Every reason for which a passport login is refused, and what the token endpoint then says.
 *
 * <p>The descriptions are distinct on purpose: the bridge's dialect tells causes apart by them. keycloak/README.md holds
 * the same table, and a test compares the two.
 */
public enum Refusal {
    NOT_A_PASSPORT_LOGIN(400, "invalid_request", "Missing parameter: grant_type_moex"),
    CERTIFICATE_MISSING(400, "invalid_request", "Missing parameter: certificate"),
    ALGORITHM_MISSING(400, "invalid_request", "Missing parameter: algorithm"),
    SIGNATURE_MISSING(400, "invalid_request", "Missing parameter: signature"),
    ALGORITHM_UNKNOWN(400, "invalid_request", "Unsupported algorithm"),
    CERTIFICATE_MALFORMED(400, "invalid_grant", "Passport certificate is malformed"),
    CERTIFICATE_NOT_GENUINE(400, "invalid_grant", "Passport certificate is not genuine"),
    CERTIFICATE_NOT_YET_VALID(400, "invalid_grant", "Passport certificate is not yet valid"),
    CERTIFICATE_EXPIRED(400, "invalid_grant", "Passport certificate has expired"),
    CERTIFICATE_USED(400, "invalid_grant", "Passport certificate was already used"),
    SIGNATURE_MALFORMED(400, "invalid_grant", "Signature is malformed"),
    SIGNATURE_OTHER_ALGORITHM(400, "invalid_grant", "Signature is not of the announced algorithm"),
    SIGNATURE_OTHER_KEY(400, "invalid_grant", "Signature key does not belong to the passport"),
    SIGNATURE_WRONG(400, "invalid_grant", "Signature does not match"),
    USER_UNKNOWN(400, "invalid_grant", "Passport user is not known"),
    /** In the words of Keycloak's own step for user names. */
    USER_DISABLED(400, "invalid_grant", "Account disabled"),
    /** By the brute-force guard. */
    USER_LOCKED(400, "invalid_grant", "Account temporarily disabled"),
    /** The realm's operator is at fault, not the client. */
    MISCONFIGURED(500, "server_error", "Passport login is not configured");

    public final int status;
    public final String error;
    public final String description;

    Refusal(int status, String error, String description) {
        this.status = status;
        this.error = error;
        this.description = description;
    }
}
