package passbridge.passport;

/** Carries a {@link Refusal} out of the check. Without a stack trace: being refused is ordinary, and floods are cheap. */
public final class RefusedException extends Exception {
    private static final long serialVersionUID = 1L;

    private final Refusal refusal;

    public RefusedException(Refusal refusal) {
        super(refusal.description, null, false, false);
        this.refusal = refusal;
    }

    public Refusal refusal() {
        return refusal;
    }
}
