/*
 * peer_pieces.h
 *	  Pieces of a snapshot's files at the other server, many of them asked for at once.
 */
#ifndef STEEP_PEER_PIECES_H
#define STEEP_PEER_PIECES_H

#include "peer/peer_connection.h"

extern void peer_pieces_begin(PeerConnection *peer);
extern void peer_piece_ask(PeerConnection *peer, const char *path, const char *file, uint64 offset,
						   uint32 length);
extern void peer_piece_expect(PeerConnection *peer, size_t under_way);
extern PGresult *peer_piece_answer(PeerConnection *peer, uint32 length);

#endif /* STEEP_PEER_PIECES_H */
