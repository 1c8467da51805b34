-- A client that has missed the end of its user's earlier stay does not subscribe again: it has a subscription, which the BYE of
-- that stay names (dismiss). If it has ended that, it says so (481). Needs what notify needs. Gives resume_subscription,
-- end_kept_subscription.
--- @include "notify"
--- @include "dialog"
--- @include "farewells"

-- The subscription that the dialog of a BYE names, if any.
local function subscription_in(dialog)
    local text = (dialog_ids(dialog) or {}).subscription
    return type(text) == "string" and cjson.decode(text)
end

-- After commit. `device` is what the room calls it, or its name without ";aor" if it is not in the room yet: then it goes on
-- when it is let in (adopt_subscription). `dialog` is that of the BYE. Whether it goes on with the subscription.
local function resume_subscription(device, dialog)
    local kept = subscription_in(dialog)
    if not kept or kept.expires_at <= now or subscription_of(device) then
        return false
    end
    kept.version, kept.rev, kept.pending = tonumber(redis.call("HGET", room, "last_version")) or 0, -1, ""
    keep_subscription(device, kept)
    return true
end

-- After commit. The device has ended the subscription with this dialog, before the BYE that names it has reached it.
local function end_kept_subscription(device, dialog)
    for _, farewell in ipairs(farewells_in(request.room, without_aor(device))) do
        local kept = subscription_in(farewell.dialog)
        if kept and dialog_ids(kept.dialog).call_id == dialog_ids(dialog).call_id then
            local rest = farewell.dialog:match("^(.*)}%s*$")
            keep_farewell(request.room, farewell.device, rest .. ',"subscription":null}')
        end
    end
end
