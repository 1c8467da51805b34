"""Users whose phones show rooms as group chats, as Linphone does, in chaos runs."""
