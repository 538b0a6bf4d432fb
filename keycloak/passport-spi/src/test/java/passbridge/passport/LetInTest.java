package passbridge.passport;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import java.lang.reflect.Proxy;
import java.util.ArrayList;
import java.util.List;
import java.util.function.Consumer;
import org.junit.jupiter.api.Test;
import org.keycloak.authentication.AuthenticationFlowError;
import org.keycloak.authentication.AuthenticationFlowException;
import org.keycloak.models.UserModel;

/** In which order a passport's owner is looked at, the passport is spent, and the user named to the server. */
class LetInTest {
    private static final UserModel USER = user(true, null);

    private final List<String> order = new ArrayList<>();

    /** A user; with a link to a client, that client's own account. */
    private static UserModel user(boolean enabled, String link) {
        Class<UserModel> kind = UserModel.class;
        return kind.cast(Proxy.newProxyInstance(kind.getClassLoader(), new Class<?>[] {kind}, (self, method, arguments) ->
                switch (method.getName()) {
                    case "isEnabled" -> enabled;
                    case "getServiceAccountClientLink" -> link;
                    default -> throw new UnsupportedOperationException(method.toString());
                }));
    }

    private void letIn(UserModel user, boolean locked, boolean firstUse) throws RefusedException {
        letIn(user, locked, firstUse, named -> order.add("named"));
    }

    private void letIn(UserModel user, boolean locked, boolean firstUse, Consumer<UserModel> setUser)
            throws RefusedException {
        PassportAuthenticator.letIn(user, locked, () -> order.add("spent") && firstUse, setUser);
    }

    private void assertRefused(Refusal expected, UserModel user, boolean locked, boolean firstUse) {
        assertEquals(expected, assertThrows(RefusedException.class, () -> letIn(user, locked, firstUse)).refusal());
    }

    @Test
    void a_user_is_named_once_the_passport_is_spent() throws RefusedException {
        letIn(USER, false, true);
        assertEquals(List.of("spent", "named"), order);
    }

    @Test
    void a_used_passport_is_refused_and_its_owner_never_named() {
        assertRefused(Refusal.CERTIFICATE_USED, USER, false, false);
        assertEquals(List.of("spent"), order);
    }

    @Test
    void whoever_may_not_log_in_is_refused_before_the_passport_is_spent_and_never_named() {
        assertRefused(Refusal.USER_LOCKED, USER, true, true);
        assertRefused(Refusal.USER_DISABLED, user(false, null), false, true);
        assertRefused(Refusal.USER_UNKNOWN, user(true, "a-client"), false, true);
        assertEquals(List.of(), order);
    }

    @Test
    void a_flow_that_has_named_somebody_else_before_is_a_refusal_and_no_fault_of_the_server() {
        Consumer<UserModel> conflict = named -> {
            throw new AuthenticationFlowException(AuthenticationFlowError.USER_CONFLICT);
        };
        RefusedException refused =
                assertThrows(RefusedException.class, () -> letIn(USER, false, true, conflict));
        assertEquals(Refusal.USER_UNKNOWN, refused.refusal());
    }
}
