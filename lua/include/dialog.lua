-- Dialogs of devices (RFC 3261 §12): a field `dialog:DEVICE` of the room's hash for each, with the text of an edge. Needs room,
-- request and emit. Gives dialog_of, dialog_ids, same_dialog, unknown_dialog, end_dialog.
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
