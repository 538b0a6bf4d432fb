package passbridge.passport;

import java.util.List;
import org.keycloak.Config;
import org.keycloak.authentication.Authenticator;
import org.keycloak.authentication.AuthenticatorFactory;
import org.keycloak.models.AuthenticationExecutionModel.Requirement;
import org.keycloak.models.KeycloakSession;
import org.keycloak.models.KeycloakSessionFactory;
import org.keycloak.provider.ProviderConfigProperty;

/** Tells Keycloak that the step exists and what may be set on it. */
public final class PassportAuthenticatorFactory implements AuthenticatorFactory {
    /** What a realm file names as {@code authenticator}. */
    static final String ID = "passport-direct-grant";

    private static final PassportAuthenticator STATELESS = new PassportAuthenticator();

    @Override
    public String getId() {
        return ID;
    }

    @Override
    public Authenticator create(KeycloakSession session) {
        return STATELESS;
    }

    @Override
    public String getDisplayType() {
        return "MOEX Passport";
    }

    @Override
    public String getReferenceCategory() {
        // The brute-force guard counts failures of "password", "otp" and "recovery-authn-codes", and of steps that name no
        // category (26.7.3). Of this one it must not. Before 26.7 it asks for no category:
        // there the step keeps out of its way by naming the user last.
        return "passport";
    }

    @Override
    public String getHelpText() {
        return "Direct grant by passport cookie and detached signature (grant_type_moex=passport), RSA or GOST R 34.10-2012.";
    }

    @Override
    public boolean isConfigurable() {
        return true;
    }

    @Override
    public List<ProviderConfigProperty> getConfigProperties() {
        return PassportSettings.PROPERTIES;
    }

    @Override
    public Requirement[] getRequirementChoices() {
        return new Requirement[] {Requirement.REQUIRED, Requirement.ALTERNATIVE, Requirement.DISABLED};
    }

    @Override
    public boolean isUserSetupAllowed() {
        return false;
    }

    @Override
    public void init(Config.Scope config) {
        // All settings belong to executions in realms, none to the server.
    }

    @Override
    public void postInit(KeycloakSessionFactory factory) {
        // Nothing to prepare.
    }

    @Override
    public void close() {
        // Nothing is held.
    }
}
