-- Dialogs of devices (RFC 3261 §12): a field `dialog:DEVICE` of the room's hash for each, with the text of an edge. Needs room,
-- request, entry_id and emit. Gives dialog_of, dialog_ids, same_dialog, beside_former, after_bye, with_leaving, is_leaving,
-- with_end, unknown_dialog, end_dialog.
-- Events of this include: `bye` to a device; dialog: the one that ends.

-- What a dialog is known by, of the text of an edge; nil if it cannot be read.
local function dialog_ids(text)
    local is_read, ids = pcall(cjson.decode, text)
    return is_read and type(ids) == "table" and ids.call_id and ids or nil
end

-- Whether two are one dialog. Devices that have accepted one INVITE, which a proxy has forked, share its Call-ID: they
-- differ in their tags (RFC 3261 §13.2.2.4).
local function same_dialog(one, other)
    if not one or not other or one.call_id ~= other.call_id then
        return false
    end
    local tag, other_tag = one.remote_tag or "", other.remote_tag or ""
    return tag == "" or other_tag == "" or tag == other_tag
end

-- The dialog of a request. Its text is kept as it is: cjson would make an object of an empty list.
local function dialog_of(request)
    assert(dialog_ids(request.dialog or "") and request.dialog:find("}$"), "dialog")
    return request.dialog
end

-- Two edges may send the same INVITE, with the same Call-ID. A device that accepts both ends the first session by BYE. Their
-- reports come in any order, so the room cannot tell which session that is: for a while it keeps the tag of the other one, too,
-- as former_tag.
local BOTH_MS = 64 * 1000

-- The text of a new session of a device, with the tag of the session that the room has, if that is as new and by the same INVITE,
-- and has not ended.
local function beside_former(text, former)
    local new, old = dialog_ids(text), dialog_ids(former or "")
    if not old or old.ended_for or old.call_id ~= new.call_id or same_dialog(old, new)
        or entry_id:match("^%d+") - (old.accepted_at or 0) >= BOTH_MS then
        return text
    end
    return (text:gsub("^{", function() return '{"former_tag":' .. cjson.encode(old.remote_tag) .. "," end))
end

-- `text` is of two sessions (beside_former), `ids` of a BYE in one of them. Returns the text of the other session; nil if there
-- is no other one.
local function after_bye(text, ids)
    local known = dialog_ids(text)
    if not known or not known.former_tag or known.call_id ~= ids.call_id
        or entry_id:match("^%d+") - (known.accepted_at or 0) >= BOTH_MS then
        return nil
    end
    local is_former = ids.remote_tag == known.former_tag
    if not is_former and ids.remote_tag ~= known.remote_tag then
        return nil
    end
    local rest = text:gsub('"former_tag":"[^"]*",', "", 1)
    if is_former then
        return rest
    end
    return (rest:gsub('"remote_tag":"[^"]*"', function() return '"remote_tag":' .. cjson.encode(known.former_tag) end, 1))
end

-- When its user leaves, Linphone ends its subscription to the roster, and then its session by BYE (5.1.65, seen). If it has
-- got no ACK, the BYE comes first. If it accepts another INVITE, there is only the BYE.
-- A BYE comes at most so long after the end of the subscription. Less than 32 s: a next session may end without ACK then
-- (RFC 3261 §13.3.1.4).
local LEAVING_MS = 30 * 1000

-- `text` with the time at which the device has ended its subscription, in ms since 1970.
local function with_leaving(text, at)
    return (text:gsub('"leaving_at":%d+,', "", 1):gsub("^{", '{"leaving_at":' .. at .. ","))
end

-- `text` of a session that its device has ended, because it accepts the INVITE with this id. The report of its new session replaces
-- this one. If no report comes, as of an edge that dies, the device has no session from then on, and no ACK.
local function with_end(text, id)
    return (text:gsub('"ended_for":"[%d-]*",', "", 1):gsub("^{", '{"ended_for":"' .. id .. '",'))
end

-- Whether a BYE with these ids says that the user leaves, whatever else it could mean.
local function is_leaving(text, ids)
    local known = dialog_ids(text)
    local is_one = known and (same_dialog(known, ids) or (known.call_id == ids.call_id and known.former_tag == ids.remote_tag))
    return is_one and known.leaving_at ~= nil and entry_id:match("^%d+") - known.leaving_at < LEAVING_MS
end

-- A dialog that the device does not know, like `text` otherwise. Linphone ends its session with a room by BYE only, so for a
-- BYE that finds no session, an edge makes one to end it.
local function unknown_dialog(text)
    local ids = dialog_ids(text)
    ids.call_id = "gone-" .. entry_id
    return cjson.encode(ids)
end

-- After commit. The device has a dialog with the room that the room does not want.
local function end_dialog(device, dialog)
    local cause = request
    request = { room = cause.room, from = cause.room }
    emit("bye", { device }, "dialog", dialog)
    request = cause
end
