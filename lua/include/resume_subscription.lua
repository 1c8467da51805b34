-- A client that has missed the end of its user's earlier stay does not subscribe again: it has a subscription, which the BYE of
-- that stay names (dismiss). If it has ended that, it says so (481). Needs what notify needs. Gives resume_subscription.
--- @include "notify"
--- @include "dialog"

-- After commit. `device` is what the room calls it, `dialog` that of the BYE. Whether it goes on with the subscription.
local function resume_subscription(device, dialog)
    local text = (dialog_ids(dialog) or {}).subscription
    local kept = type(text) == "string" and cjson.decode(text)
    if not kept or kept.expires_at <= now or subscription_of(device) then
        return false
    end
    kept.version, kept.rev, kept.pending = tonumber(redis.call("HGET", room, "last_version")) or 0, -1, ""
    keep_subscription(device, kept)
    return true
end
