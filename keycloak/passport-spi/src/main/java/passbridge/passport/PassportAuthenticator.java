package passbridge.passport;

import jakarta.ws.rs.core.MediaType;
import jakarta.ws.rs.core.MultivaluedMap;
import jakarta.ws.rs.core.Response;
import java.time.Duration;
import java.time.Instant;
import java.util.List;
import java.util.Map;
import java.util.function.BooleanSupplier;
import java.util.function.Consumer;
import java.util.stream.Stream;
import org.keycloak.authentication.AuthenticationFlowContext;
import org.keycloak.authentication.AuthenticationFlowError;
import org.keycloak.authentication.AuthenticationFlowException;
import org.keycloak.authentication.Authenticator;
import org.keycloak.events.Errors;
import org.keycloak.models.AuthenticatorConfigModel;
import org.keycloak.models.KeycloakSession;
import org.keycloak.models.RealmModel;
import org.keycloak.models.UserLoginFailureModel;
import org.keycloak.models.UserModel;
import org.keycloak.representations.idm.OAuth2ErrorRepresentation;

/**
 * Step of a direct-grant flow that logs in whoever shows a passport and a signature made with the key it names. There
 * is no user name and no password in such a request.
 */
public final class PassportAuthenticator implements Authenticator {

    @Override
    public void authenticate(AuthenticationFlowContext context) {
        MultivaluedMap<String, String> form = context.getHttpRequest().getDecodedFormParameters();
        boolean passportLogin = "passport".equals(form.getFirst("grant_type_moex"));
        if (!passportLogin && context.getExecution().isAlternative()) {
            context.attempted(); // Another step of the flow may know this kind of login.
            return;
        }
        try {
            if (!passportLogin) {
                throw new RefusedException(Refusal.NOT_A_PASSPORT_LOGIN);
            }
            logIn(context, form);
        } catch (RefusedException e) {
            refuse(context, e.refusal());
        }
    }

    private void logIn(AuthenticationFlowContext context, MultivaluedMap<String, String> form) throws RefusedException {
        PassportSettings settings = PassportSettings.of(config(context));
        Instant now = Instant.now();
        PassportToken passport = new PassportCheck(settings.issuer(), settings.skew()).check(
                form.getFirst(settings.certificateField()), form.getFirst("algorithm"), form.getFirst("signature"), now);
        UserModel user = user(context.getSession(), context.getRealm(), settings, passport.subject());
        context.getEvent().user(user);
        boolean locked = isLocked(context.getSession(), context.getRealm(), user);
        letIn(user, locked, () -> !settings.once() || spend(context, passport, settings, now), context::setUser);
        context.success();
    }

    /**
     * Names the user to the server, as the last step of all: a failure behind it counts as a guess against that user where
     * the realm guards against those (before 26.7 whatever the step's category is), and whoever shows a used passport
     * would lock its owner out. So what setUser would refuse is refused here, before a passport is spent.
     */
    static void letIn(UserModel user, boolean locked, BooleanSupplier firstUse, Consumer<UserModel> setUser)
            throws RefusedException {
        if (locked) {
            throw new RefusedException(Refusal.USER_LOCKED);
        }
        if (!user.isEnabled()) {
            throw new RefusedException(Refusal.USER_DISABLED);
        }
        if (user.getServiceAccountClientLink() != null) { // A client's own account, which is nobody's user.
            throw new RefusedException(Refusal.USER_UNKNOWN);
        }
        if (!firstUse.getAsBoolean()) {
            throw new RefusedException(Refusal.CERTIFICATE_USED);
        }
        try {
            setUser.accept(user);
        } catch (AuthenticationFlowException e) {
            // An earlier step of the flow has named somebody else. Left alone it would leave the server as
            // "500 unknown_error" (26.7.3), as if the realm were broken.
            throw new RefusedException(Refusal.USER_UNKNOWN);
        }
    }

    /**
     * Whether the brute-force guard keeps the user out for a time: setUser does not ask, every step has to. Not by the guard's
     * own question, which refuses a user whose other login is under way too (26.7.3): that hinders guesses, and a passport is none.
     */
    private static boolean isLocked(KeycloakSession session, RealmModel realm, UserModel user) {
        UserLoginFailureModel failures = realm.isBruteForceProtected()
                ? session.loginFailures().getUserLoginFailure(realm, user.getId())
                : null;
        return failures != null && Instant.now().getEpochSecond() < failures.getFailedLoginNotBefore();
    }

    private static UserModel user(KeycloakSession session, RealmModel realm, PassportSettings settings, String subject)
            throws RefusedException {
        String attribute = settings.userAttribute();
        Stream<UserModel> likely = attribute.isEmpty()
                ? Stream.ofNullable(session.users().getUserByUsername(realm, subject))
                : session.users().searchForUserByUserAttributeStream(realm, attribute, subject);
        // Keycloak asks for names in small letters, and a database may know no accents: who is found need not be who is meant.
        List<UserModel> found = likely.filter(user -> attribute.isEmpty()
                        ? subject.equals(user.getUsername())
                        : user.getAttributeStream(attribute).anyMatch(subject::equals))
                .limit(2)
                .toList();
        // Two users for one passport are as good as none: neither may be guessed.
        if (found.size() != 1) {
            throw new RefusedException(Refusal.USER_UNKNOWN);
        }
        return found.get(0);
    }

    /**
     * Whether this is the first use; remembered, by all nodes of the cluster, for as long as the cookie lives, but in
     * their memory: once all of them were down (a single one: restarted) the cookie is good again.
     */
    private static boolean spend(
            AuthenticationFlowContext context, PassportToken passport, PassportSettings settings, Instant now) {
        long life = Duration.between(now, passport.expiresAt().plus(settings.skew())).toSeconds() + 1;
        // The server keeps these of all realms together, and another realm's Passport counts for itself.
        String name = "passport:" + context.getRealm().getId() + ":" + passport.serial();
        return context.getSession().singleUseObjects().putIfAbsent(name, life);
    }

    private void refuse(AuthenticationFlowContext context, Refusal refusal) {
        AuthenticationFlowError kind;
        String event;
        switch (refusal) {
            case MISCONFIGURED -> {
                kind = AuthenticationFlowError.INTERNAL_ERROR;
                event = Errors.INVALID_CONFIG;
            }
            case USER_UNKNOWN -> {
                kind = AuthenticationFlowError.INVALID_USER;
                event = Errors.USER_NOT_FOUND;
            }
            case USER_DISABLED -> {
                kind = AuthenticationFlowError.USER_DISABLED;
                event = Errors.USER_DISABLED;
            }
            case USER_LOCKED -> {
                kind = AuthenticationFlowError.USER_TEMPORARILY_DISABLED;
                event = Errors.USER_TEMPORARILY_DISABLED;
            }
            default -> {
                kind = AuthenticationFlowError.INVALID_CREDENTIALS;
                event = Errors.INVALID_USER_CREDENTIALS;
            }
        }
        // The event is for the realm's administrator; it names the reason and no secret.
        context.getEvent().detail("reason", refusal.description);
        context.getEvent().error(event);
        context.failure(kind, response(refusal));
    }

    private static Response response(Refusal refusal) {
        return Response.status(refusal.status)
                .entity(new OAuth2ErrorRepresentation(refusal.error, refusal.description))
                .type(MediaType.APPLICATION_JSON_TYPE)
                .build();
    }

    private static Map<String, String> config(AuthenticationFlowContext context) {
        AuthenticatorConfigModel model = context.getAuthenticatorConfig();
        return model == null || model.getConfig() == null ? Map.of() : model.getConfig();
    }

    @Override
    public void action(AuthenticationFlowContext context) {
        // A direct grant is one request: there is no second step to act on.
    }

    @Override
    public void close() {
        // Nothing is held.
    }

    @Override
    public boolean requiresUser() {
        return false;
    }

    @Override
    public boolean configuredFor(KeycloakSession session, RealmModel realm, UserModel user) {
        return true;
    }

    @Override
    public void setRequiredActions(KeycloakSession session, RealmModel realm, UserModel user) {
        // A passport is got elsewhere: there is nothing here that a user could be asked to set up.
    }
}
